//! Sizes as they are written in flags and filters.

/// Reads a number of bytes: plain, or with a unit of 1000 (`kB`, `MB`, `GB`, `TB`) or 1024 (`KiB`, `MiB`, `GiB`,
/// `TiB`). A number with a unit may have a fraction.
///
/// # Errors
/// A sentence that says how sizes are written.
pub fn bytes(text: &str) -> Result<i64, String> {
    let fault = || format!("{text:?} is not a size; write 4096, 64KiB or 1.5MB");
    let text = text.trim();
    if let Ok(bytes) = text.parse() {
        return Ok(bytes);
    }
    let digits = text.find(|sign: char| !sign.is_ascii_digit() && sign != '.').ok_or_else(fault)?;
    let (number, unit) = text.split_at(digits);
    let factor: f64 = match unit.trim().to_ascii_lowercase().as_str() {
        "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "t" | "tb" => 1e12,
        "ki" | "kib" => 1024.0,
        "mi" | "mib" => 1_048_576.0,
        "gi" | "gib" => 1_073_741_824.0,
        "ti" | "tib" => 1_099_511_627_776.0,
        _ => return Err(fault()),
    };
    let bytes = number.parse::<f64>().map_err(|_| fault())? * factor;
    if bytes < i64::MAX as f64 { Ok(bytes.round() as i64) } else { Err(fault()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, expected) in [
            ("0", 0),
            ("4096", 4096),
            ("-1", -1),
            ("64KiB", 65_536),
            ("1 MB", 1_000_000),
            ("1.5k", 1500),
            ("2gib", 2 << 30),
            ("7b", 7),
        ] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for text in ["", "much", "1.2.3MB", "MB", "1XB", "99999999TB", "1,5MB"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }
}
