//! The text of a file with mistakes in it, and where each of them stands in that text.

use crate::points::{Piece, Point};
use std::collections::BTreeMap;
use std::ops::Range;

/// A file's text, and where each mutant stands in it: more than once if one lies in another.
pub struct Rendered {
    pub text: String,
    /// Number of a mutant, and its bytes of `text`.
    pub places: Vec<(usize, Range<usize>)>,
}

/// Puts the mutants, by number, into the source. No two may replace the same bytes.
pub fn render(source: &str, mutants: &BTreeMap<usize, &Point>) -> Rendered {
    let mut by_place: Vec<(usize, &Point)> = mutants
        .iter()
        .map(|(number, point)| (*number, *point))
        .collect();
    // Outer ones before those in them.
    by_place.sort_by_key(|(_, point)| (point.range.start, usize::MAX - point.range.end));
    let mut rendering = Rendering {
        source,
        by_place,
        done: Rendered {
            text: String::new(),
            places: Vec::new(),
        },
    };
    rendering.put(0..source.len(), None);
    rendering.done
}

struct Rendering<'a> {
    source: &'a str,
    by_place: Vec<(usize, &'a Point)>,
    done: Rendered,
}

impl Rendering<'_> {
    /// The source between two bytes with the mutants in it, but without the one it belongs to.
    fn put(&mut self, range: Range<usize>, without: Option<usize>) {
        let mut at = range.start;
        for index in 0..self.by_place.len() {
            let (number, point) = self.by_place[index];
            let inside = at <= point.range.start && point.range.end <= range.end;
            if !inside || without == Some(number) {
                continue;
            }
            self.done.text.push_str(&self.source[at..point.range.start]);
            at = point.range.end;
            let start = self.done.text.len();
            for piece in point.pieces.clone() {
                match piece {
                    Piece::Text(text) => self.done.text.push_str(&text),
                    Piece::Chosen => self
                        .done
                        .text
                        .push_str(&format!("crate::mutants::is({number})")),
                    Piece::Source(part) => self.put(part, Some(number)),
                }
            }
            self.done.places.push((number, start..self.done.text.len()));
        }
        self.done.text.push_str(&self.source[at..range.end]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::points::points;

    fn all_of(source: &str) -> BTreeMap<usize, Point> {
        let mut taken: Vec<Point> = Vec::new();
        for point in points(source).expect("it is Rust") {
            if !taken.iter().any(|other| other.range == point.range) {
                taken.push(point);
            }
        }
        taken.into_iter().enumerate().collect()
    }

    fn render_all(source: &str) -> Rendered {
        let points = all_of(source);
        render(
            source,
            &points
                .iter()
                .map(|(number, point)| (*number, point))
                .collect(),
        )
    }

    #[test]
    fn nothing_chosen_nothing_changed() {
        let source = "fn f() { g(1 + 2); }\n";
        assert_eq!(render(source, &BTreeMap::new()).text, source);
    }

    #[test]
    fn one_in_another() {
        let rendered = render_all("fn f(a: u8, b: u8) -> S { a < b + 1 }\n");
        let is = |number: usize| format!("crate::mutants::is({number})");
        let one = format!("(if {} {{ 2 }} else {{ 1 }})", is(2));
        let sum = format!("(if {} {{ (b) - ({one}) }} else {{ b + {one} }})", is(1));
        let whole = format!("(if {} {{ (a) <= ({sum}) }} else {{ a < {sum} }})", is(0));
        assert_eq!(
            rendered.text,
            format!("fn f(a: u8, b: u8) -> S {{ {whole} }}\n")
        );
        // The inner ones stand there twice and more.
        let times = |number| {
            rendered
                .places
                .iter()
                .filter(|(of, _)| *of == number)
                .count()
        };
        assert_eq!([times(0), times(1), times(2)], [1, 2, 4]);
    }

    /// The tool is for this source: whatever is chosen of it, Rust's grammar must take the text.
    #[test]
    fn every_file_of_the_broker_parses_with_mutants_in_it() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../src");
        let files = crate::tree::sources(&root, &crate::FOLDERS.map(str::to_owned));
        let mut count = 0;
        for (path, source) in files {
            let points = all_of(&source);
            // Each third one: with all of them, one in another stands there too often.
            for rest in 0..3 {
                let some = points.iter().filter(|(number, _)| *number % 3 == rest);
                let rendered = render(
                    &source,
                    &some.map(|(number, point)| (*number, point)).collect(),
                );
                if let Err(why) = syn::parse_file(&rendered.text) {
                    panic!("{}: {why}", path.display());
                }
            }
            count += points.len();
        }
        assert!(count > 1000, "{count} places");
    }
}
