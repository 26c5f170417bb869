//! Times as an operator wants them written: the conversions of strftime() of C, in English.

use crate::io::helpers::zone::Zone;
use std::fmt::Write;

const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Appends the time in this format. What is no conversion stands as it is, also what follows an unknown `%`.
pub fn append(format: &str, zone: &Zone, utc_s: i64, out: &mut String) {
    let Some((time, offset)) = zone.local_time(utc_s) else {
        return;
    };
    let (year, month, day) = (time.year(), time.month(), time.month_day());
    let (hour, minute, second) = (time.hour(), time.minute(), time.second());
    let day_name = DAYS[usize::from(time.week_day()) % 7];
    let month_name = MONTHS[usize::from(month.saturating_sub(1)) % 12];
    let hour_of_12 = (hour + 11) % 12 + 1;
    let half = if hour < 12 { "AM" } else { "PM" };
    // Weeks that begin on Sunday, and on Monday, of which the first makes week 1.
    let week = |first_day: u16| {
        let week_day = u16::from(time.week_day());
        (time.year_day() + 7 - (week_day + 7 - first_day) % 7) / 7
    };
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            out.push(character);
            continue;
        }
        let mut conversion = characters.next();
        // Other digits and eras are not for English.
        if matches!(conversion, Some('E' | 'O')) {
            conversion = characters.next();
        }
        let _ = match conversion {
            Some('Y') => write!(out, "{year}"),
            Some('C') => write!(out, "{:02}", year.div_euclid(100)),
            Some('y') => write!(out, "{:02}", year.rem_euclid(100)),
            Some('m') => write!(out, "{month:02}"),
            Some('d') => write!(out, "{day:02}"),
            Some('e') => write!(out, "{day:2}"),
            Some('j') => write!(out, "{:03}", time.year_day() + 1),
            Some('H') => write!(out, "{hour:02}"),
            Some('k') => write!(out, "{hour:2}"),
            Some('I') => write!(out, "{hour_of_12:02}"),
            Some('l') => write!(out, "{hour_of_12:2}"),
            Some('M') => write!(out, "{minute:02}"),
            Some('S') => write!(out, "{second:02}"),
            Some('p') => write!(out, "{half}"),
            Some('P') => write!(out, "{}", half.to_lowercase()),
            Some('a') => write!(out, "{}", &day_name[..3]),
            Some('A') => write!(out, "{day_name}"),
            Some('b' | 'h') => write!(out, "{}", &month_name[..3]),
            Some('B') => write!(out, "{month_name}"),
            Some('u') => write!(out, "{}", (time.week_day() + 6) % 7 + 1),
            Some('w') => write!(out, "{}", time.week_day()),
            Some('U') => write!(out, "{:02}", week(0)),
            Some('W') => write!(out, "{:02}", week(1)),
            Some('s') => write!(out, "{utc_s}"),
            Some('F') => write!(out, "{year}-{month:02}-{day:02}"),
            Some('D' | 'x') => {
                write!(out, "{month:02}/{day:02}/{:02}", year.rem_euclid(100))
            }
            Some('T' | 'X') => write!(out, "{hour:02}:{minute:02}:{second:02}"),
            Some('R') => write!(out, "{hour:02}:{minute:02}"),
            Some('r') => write!(out, "{hour_of_12:02}:{minute:02}:{second:02} {half}"),
            Some('c') => write!(
                out,
                "{} {} {day:2} {hour:02}:{minute:02}:{second:02} {year}",
                &day_name[..3],
                &month_name[..3]
            ),
            Some('z') => {
                let sign = if offset < 0 { '-' } else { '+' };
                let minutes = offset.unsigned_abs() / 60;
                write!(out, "{sign}{:02}{:02}", minutes / 60, minutes % 60)
            }
            Some('n') => out.write_char('\n'),
            Some('t') => out.write_char('\t'),
            Some('%') => out.write_char('%'),
            Some(other) => write!(out, "%{other}"),
            None => out.write_char('%'),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    const CONVERSIONS: &str =
        "YCymdejHkIlMSpPaAbBuwUWsFDTRrczn%h %Y-%m-%dT%H:%M:%S %Ey %Od 100% %Y";

    /// Like date(1) has it, over years, leap days and both sides of midnight.
    #[test]
    fn times_are_written_as_c_writes_them() {
        let mut formats: Vec<String> = CONVERSIONS[..29].chars().map(|c| format!("%{c}")).collect();
        formats.retain(|format| format != "%n");
        formats.push("%Y-%m-%dT%H:%M:%S, %d.%m.%y %% x".to_owned());
        for utc_s in [
            0,
            951_782_399,
            951_782_400,
            1_709_164_800,
            1_798_761_599,
            1_774_746_000,
        ] {
            for format in &formats {
                let date = Command::new("date")
                    .env("LC_ALL", "C")
                    .args(["-u", "-d", &format!("@{utc_s}"), &format!("+{format}")])
                    .output()
                    .expect("run date");
                let expected = String::from_utf8(date.stdout).unwrap();
                let mut out = String::new();
                append(format, &Zone::utc(), utc_s, &mut out);
                assert_eq!(out, expected.trim_end_matches('\n'), "{format} of {utc_s}");
            }
        }
    }

    #[test]
    fn what_is_no_conversion_stands_as_it_is() {
        let mut out = String::new();
        append("a%qb%", &Zone::utc(), 0, &mut out);
        assert_eq!(out, "a%qb%");
    }
}
