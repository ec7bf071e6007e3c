//! The error index: a page for each code, embedded from `docs/errors/`.

use include_dir::{Dir, include_dir};

static PAGES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/docs/errors");

/// The page of a code such as `E0101`, in either case of the letter.
pub fn page(number: &str) -> Option<&'static str> {
    let name = format!("{}.md", number.to_ascii_uppercase());
    PAGES.get_file(name)?.contents_utf8().filter(|_| number.starts_with(['E', 'e']))
}
