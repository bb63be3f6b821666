//! Which route each output takes.

use crate::batch::{Strings, strings_of};

/// The route of each output, if any. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routes(Option<Strings>);

impl Routes {
    pub(super) fn new(column: Option<Strings>) -> Self {
        Self(column.filter(|column| (0..column.values.len()).any(|value| column.values.size(value) > 0)))
    }

    /// Whether no output names a route.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The route of an output.
    #[must_use]
    pub fn get(&self, output: usize) -> Option<&str> {
        self.0.as_ref()?.raw(output).filter(|route| !route.is_empty())
    }

    /// Those of these outputs.
    pub(super) fn select(&self, outputs: &[u32]) -> Self {
        if self.is_empty() {
            return Self::default();
        }
        Self(strings_of(outputs.iter().map(|output| self.get(*output as usize))))
    }

    /// The first `outputs` outputs by route, in order of first appearance.
    #[must_use]
    pub fn groups(&self, outputs: usize) -> Vec<(Option<&str>, Vec<u32>)> {
        let mut groups: Vec<(Option<&str>, Vec<u32>)> = Vec::new();
        for output in 0..outputs {
            let route = self.get(output);
            match groups.iter_mut().find(|(known, _)| *known == route) {
                Some((_, rows)) => rows.push(output as u32),
                None => groups.push((route, vec![output as u32])),
            }
        }
        groups
    }
}
