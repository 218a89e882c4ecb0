//! Ways in which a whole node is set up, asked or ended wrongly; on simulated Asterisks.
