//! Who outputs are: uid, id and source by the rules of identity.

use super::{Answer, Ordinals, Outputs, WHOLE};
use crate::{
    batch::{Attribute, Batch, Column, Malformed, Parts, Rule, values::StringsBuilder},
    ids::{self, Uid, WholeBatch},
};

/// What the identity of a node's outputs depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeIdentity {
    name: String,
    shared_source: bool,
}

impl NodeIdentity {
    /// `shared_source`: the node has several upstreams that share a source.
    #[must_use]
    pub fn new(pipeline: &str, node: &str, shared_source: bool) -> Self {
        Self { name: format!("{pipeline}/{node}"), shared_source }
    }

    /// `PIPELINE/NODE`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the node has several upstreams that share a source.
    #[must_use]
    pub fn shared_source(&self) -> bool {
        self.shared_source
    }

    fn output(&self, input: &Batch, parent: u32, n: u32) -> Uid {
        let row = parent as usize;
        match (self.shared_source, n) {
            (true, n) => ids::shared_source_output(&self.name, input.from(row).unwrap_or_default(), input.uid(row), n),
            (false, 0) => input.uid(row),
            (false, n) => ids::output(&self.name, input.uid(row), n),
        }
    }
}

impl Answer {
    /// Sets uid, id and source of `parts`, in which they are as the parents'. Returns where numbers go on.
    pub(super) fn identify(
        parts: &mut Parts,
        outputs: &Outputs,
        input: &Batch,
        node: &NodeIdentity,
        before: Ordinals,
    ) -> Result<Ordinals, Malformed> {
        let inherited: Batch = parts.clone().into();
        let ids = outputs.0.columns.id.as_ref();
        let mut after = before;
        let mut whole = None;
        let mut made = Made::default();
        let mut plain = true;
        for (output, parent) in outputs.0.parents.iter().enumerate() {
            let n = after.next(output, parent)?;
            let id = ids.and_then(|ids| ids.raw(output)).filter(|id| !id.is_empty());
            let kept = n == 0 && parent.is_some() && id.is_none();
            if plain && kept && !node.shared_source {
                continue;
            }
            if plain {
                plain = false;
                made.inherit(&inherited, output);
            }
            let uid = match (id, parent) {
                (Some(id), _) => ids::set_by_node(&node.name, id),
                (None, Some(parent)) => node.output(input, parent, n),
                (None, None) => whole
                    .get_or_insert_with(|| {
                        let inputs = (0..input.len()).map(|row| (input.from(row).unwrap_or_default(), input.uid(row)));
                        WholeBatch::new(&node.name, inputs)
                    })
                    .output(n),
            };
            made.uids.extend_from_slice(uid.as_bytes());
            match id {
                _ if kept => made.inherit_names(&inherited, output),
                Some(id) => made.name(id, &node.name),
                None => made.name(uid.hex(&mut [0; 32]), &node.name),
            }
        }
        if !plain {
            parts.uid = Some(Column::own(made.uids.into()));
            parts.strings[Attribute::Id as usize] = made.ids.finish().map(Column::own);
            parts.strings[Attribute::Source as usize] = made.sources.finish().map(Column::own);
        }
        if !outputs.continued() {
            after.open = None;
        }
        Ok(after)
    }
}

#[derive(Default)]
struct Made {
    uids: Vec<u8>,
    ids: StringsBuilder,
    sources: StringsBuilder,
}

impl Made {
    /// Takes over the first `outputs` outputs as they are.
    fn inherit(&mut self, inherited: &Batch, outputs: usize) {
        self.uids.reserve(inherited.len() * 16);
        for output in 0..outputs {
            self.uids.extend_from_slice(inherited.uid(output).as_bytes());
            self.inherit_names(inherited, output);
        }
    }

    fn inherit_names(&mut self, inherited: &Batch, output: usize) {
        self.ids.push(inherited.id(output).unwrap_or_default());
        self.sources.push(inherited.source(output).unwrap_or_default());
    }

    fn name(&mut self, id: &str, source: &str) {
        self.ids.push(id);
        self.sources.push(source);
    }
}

impl Ordinals {
    /// The number of an output among those of its parent, or of the whole batch.
    fn next(&mut self, output: usize, parent: Option<u32>) -> Result<u32, Malformed> {
        let too_many = |parent| {
            let ordinal = u64::from(u32::MAX);
            Malformed::new("parent", Rule::Ordinal { output, parent, ordinal })
        };
        let Some(parent) = parent else {
            let n = self.whole;
            self.whole = n.checked_add(1).ok_or_else(|| too_many(WHOLE))?;
            return Ok(n);
        };
        let n = match self.open {
            Some((open, n)) if open == parent => n,
            _ => 0,
        };
        self.open = Some((parent, n.checked_add(1).ok_or_else(|| too_many(parent))?));
        Ok(n)
    }
}
