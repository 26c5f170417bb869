//! What the files say, section by section, before listeners and bridges are made of it: the reader fills it, `build`
//! and `check` take it.

use super::note::Place;
use super::statements::Statements;
use super::table::Row;
use std::path::PathBuf;

/// Everything said, by section.
#[derive(Default)]
pub(super) struct Drafts {
    pub files: Vec<PathBuf>,
    pub global: Statements,
    /// The default listener.
    pub default: Statements,
    pub listeners: Vec<Section>,
    pub bridges: Vec<Section>,
    /// Options set to something else than their default, by the first such line.
    pub said: Vec<(&'static Row, Place)>,
}

/// What follows a `listener` or `connection` line.
pub(super) struct Section {
    pub place: Place,
    /// The words of that line without the first.
    pub head: Vec<String>,
    pub said: Statements,
}
