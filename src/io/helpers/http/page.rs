//! The page: one file that is compiled in, and what a browser may do with it.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};
use std::cell::OnceCell;

const HTML: &str = include_str!("page.html");
/// What it has where it is English.
const ENGLISH: &str = "<html lang=\"en\">";
const FRENCH: &str = "<html lang=\"fr\">";

/// The page, whose policy is made when somebody asks for it first.
#[derive(Default)]
pub struct Page {
    policy: OnceCell<String>,
}

impl Page {
    /// In a language.
    pub fn html(&self, french: bool) -> Vec<u8> {
        match french {
            true => HTML.replacen(ENGLISH, FRENCH, 1).into_bytes(),
            false => HTML.into(),
        }
    }

    /// What it may do: run its own scripts, look as its own styles say, ask us. Nothing else is loaded or run, whatever
    /// a client id or a topic says.
    pub fn policy(&self) -> &str {
        self.policy.get_or_init(|| {
            let (scripts, styles) = (hashes(HTML, "script"), hashes(HTML, "style"));
            format!(
                "default-src 'none'; script-src{scripts}; style-src{styles}; img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
            )
        })
    }
}

/// A source for each element of this name, by what is in it. [CSP 3 2.3.1]
fn hashes(html: &str, name: &str) -> String {
    let (open, close) = (format!("<{name}"), format!("</{name}>"));
    let mut sources = String::new();
    let mut rest = html;
    while let Some((_, after)) = rest.split_once(&open) {
        let Some((inside, behind)) = after
            .split_once('>')
            .and_then(|(_, inside)| inside.split_once(&close))
        else {
            break;
        };
        let hash = BASE64_STANDARD.encode(Sha256::digest(inside));
        sources += &format!(" 'sha256-{hash}'");
        rest = behind;
    }
    match sources.is_empty() {
        true => " 'none'".to_owned(),
        false => sources,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_script_and_style_is_allowed_by_its_hash() {
        let html =
            "<style>a{}</style><p>x</p><script>alert(1)</script><script type=\"x\"></script>";
        // echo -n 'alert(1)' | openssl dgst -sha256 -binary | base64
        let first = "'sha256-bhHHL3z2vDgxUt0W3dWQOrprscmda2Y5pLsLg4GF+pI='";
        let empty = "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='";
        assert_eq!(hashes(html, "script"), format!(" {first} {empty}"));
        assert_eq!(hashes(html, "style").matches("sha256").count(), 1);
        assert_eq!(hashes(html, "svg"), " 'none'");
    }

    #[test]
    fn the_page_is_one_small_file_in_two_languages() {
        assert!(HTML.len() <= 100 * 1024);
        assert_eq!(HTML.matches(ENGLISH).count(), 1);
        let page = Page::default();
        let french = String::from_utf8(page.html(true)).unwrap();
        assert!(french.contains(FRENCH) && !french.contains(ENGLISH));
        assert!(!page.policy().contains("unsafe"));
        for foreign in [
            "src=\"http",
            "href=\"http",
            "@import",
            "url(http",
            " onclick=",
            " style=\"",
        ] {
            assert!(!HTML.contains(foreign), "{foreign}");
        }
    }
}
