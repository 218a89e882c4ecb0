//! t
mod entropy;
use std::hash::BuildHasher;
fn main() {
    let seed: u64 = std::env::args().nth(1).unwrap().parse().unwrap();
    entropy::seed(seed);
    let h = std::collections::hash_map::RandomState::new().hash_one(1u8);
    let r: u64 = rand::random();
    let rt = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let s = rt.block_on(async {
        let mut s = String::new();
        for _ in 0..20 {
            tokio::select! { _ = async {} => s.push('a'), _ = async {} => s.push('b') }
        }
        s
    });
    println!("{h:x} {r:x} {s}");
    let t = std::time::Instant::now();
    let rts: Vec<_> = (0..4).map(|_| tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()).collect();
    for _ in 0..10_000 { for rt in &rts { rt.block_on(tokio::time::sleep(std::time::Duration::from_millis(1))); } }
    eprintln!("40k block_on in {:?}", t.elapsed());
}
