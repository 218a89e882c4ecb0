//! Times as ARI writes them: `2026-11-23T11:12:07.193+0000`. It does not read any clock.

/// Formats milliseconds since the Unix epoch.
pub(crate) fn stamp(wall_ms: u64) -> String {
    let (seconds, millis) = (wall_ms / 1000, wall_ms % 1000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days to civil date, after Howard Hinnant; the era starts on 1 March of year 0.
    let z = days + 719_468;
    let era = z / 146_097;
    let doe = z % 146_097;
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}+0000")
}

#[cfg(test)]
mod tests {
    use super::stamp;

    #[test]
    fn stamps_are_civil_dates() {
        assert_eq!(stamp(0), "1970-01-01T00:00:00.000+0000");
        assert_eq!(stamp(951_827_696_789), "2000-02-29T12:34:56.789+0000");
        assert_eq!(stamp(1_795_432_327_193), "2026-11-23T11:12:07.193+0000");
    }
}
