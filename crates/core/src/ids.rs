//! The 128-bit identity of events, and the rules by which the coordinator makes it.
//!
//! Every rule is [`hash`] over parts that begin with a name qualified by the pipeline, so that two pipelines which
//! read the same source never make the same output. Parts are prefixed with their length, therefore two different
//! lists of parts are two different texts.

use std::{fmt, str::FromStr};

use sha1::{Digest as _, Sha1};
use thiserror::Error;
use uuid::Uuid;

/// Meshloom's namespace for version 5 UUIDs. Changing it changes every identity ever made.
pub const NAMESPACE: Uuid = Uuid::from_u128(0x6e1f_0b5c_94a7_4d3b_8e52_c07d_a91f_36e8);

/// Identity of an event inside Meshloom: a UUID, of version 5 or, at journalled sources, 7.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid([u8; 16]);

impl Uid {
    /// The identity that stands for "not yet set".
    pub const NIL: Self = Self([0; 16]);

    /// From its 16 bytes, most significant first.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its 16 bytes, most significant first.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Whether it is not yet set.
    #[must_use]
    pub fn is_nil(&self) -> bool {
        *self == Self::NIL
    }

    /// Writes its 32 lower-case hexadecimal digits without allocating.
    #[must_use]
    pub fn hex<'a>(&self, buffer: &'a mut [u8; 32]) -> &'a str {
        uuid::fmt::Simple::from_uuid(Uuid::from_bytes(self.0)).encode_lower(buffer)
    }
}

impl From<Uuid> for Uid {
    fn from(uuid: Uuid) -> Self {
        Self(uuid.into_bytes())
    }
}

impl From<Uid> for Uuid {
    fn from(uid: Uid) -> Self {
        Uuid::from_bytes(uid.0)
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.hex(&mut [0; 32]))
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Uid({self})")
    }
}

/// A text that is no uid.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{text}` is no uid: expected 32 hexadecimal digits, with or without the hyphens of a UUID")]
pub struct ParseUidError {
    text: String,
}

impl FromStr for Uid {
    type Err = ParseUidError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || ParseUidError { text: crate::limits::truncate(text, 64).to_owned() };
        // `Uuid` would also take the URN and the braced forms.
        if text.len() != 32 && text.len() != 36 {
            return Err(refused());
        }
        Uuid::try_parse(text).map(Self::from).map_err(|_| refused())
    }
}

/// H(parts): the version 5 UUID in [`NAMESPACE`] over the parts, each prefixed with its length as u32 little-endian.
#[must_use]
pub fn hash(parts: &[&[u8]]) -> Uid {
    let mut hasher = Hasher::new();
    for part in parts {
        hasher.part(part);
    }
    hasher.finish()
}

/// Identity of an event that a source made: H(source, id).
#[must_use]
pub fn source_event(source: &str, id: &str) -> Uid {
    SourceEvents::new(source.as_bytes()).uid(id.as_bytes())
}

/// Identities of many events of one source, which is taken in once.
#[derive(Clone)]
pub(crate) struct SourceEvents {
    hasher: Hasher,
    block: Option<OneBlock>,
}

impl SourceEvents {
    pub(crate) fn new(source: &[u8]) -> Self {
        let mut hasher = Hasher::new();
        hasher.part(source);
        Self { hasher, block: OneBlock::new(source) }
    }

    pub(crate) fn uid(&self, id: &[u8]) -> Uid {
        self.block.as_ref().and_then(|block| block.uid(id)).unwrap_or_else(|| {
            let mut hasher = self.hasher.clone();
            hasher.part(id);
            hasher.finish()
        })
    }
}

/// The beginning of a text that fits one block of SHA-1 with source and id, as most do: then the one compression is all,
/// and the hasher's buffering, which costs as much again, is spared.
#[derive(Clone)]
struct OneBlock {
    block: [u8; 64],
    used: usize,
}

impl OneBlock {
    /// SHA-1's initial state (FIPS 180-4, 5.3.1).
    const INITIAL: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];

    fn new(source: &[u8]) -> Option<Self> {
        let mut begun = Self { block: [0; 64], used: 0 };
        begun.append(NAMESPACE.as_bytes())?;
        begun.part(source)?;
        Some(begun)
    }

    fn append(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.used + bytes.len();
        self.block.get_mut(self.used..end)?.copy_from_slice(bytes);
        self.used = end;
        Some(())
    }

    fn part(&mut self, part: &[u8]) -> Option<()> {
        self.append(&u32::try_from(part.len()).ok()?.to_le_bytes())?;
        self.append(part)
    }

    /// `None`: with this id the text and its padding (FIPS 180-4, 5.1.1) need a second block.
    fn uid(&self, id: &[u8]) -> Option<Uid> {
        let mut text = self.clone();
        text.part(id)?;
        let bits = 8 * text.used as u64;
        text.append(&[0x80])?;
        let (padded, length) = text.block.split_last_chunk_mut::<8>()?;
        if text.used > padded.len() {
            return None;
        }
        *length = bits.to_be_bytes();
        let mut state = Self::INITIAL;
        sha1::block_api::compress(&mut state, &[text.block]);
        let mut digest = [0; 16];
        digest.as_chunks_mut::<4>().0.iter_mut().zip(state).for_each(|(bytes, word)| *bytes = word.to_be_bytes());
        Some(uuid::Builder::from_sha1_bytes(digest).into_uuid().into())
    }
}

/// Identity of output `n` > 0 of one parent: H(node, parent uid, n). Output 0 keeps its parent's.
///
/// `node` is `PIPELINE/NODE`.
#[must_use]
pub fn output(node: &str, parent: Uid, n: u32) -> Uid {
    hash(&[node.as_bytes(), &parent.0, &n.to_le_bytes()])
}

/// Identity of output `n` of one parent at a node whose upstreams share a source: H(node, from, parent uid, n).
///
/// Holds for output 0 too, so that uids are unique again below the node.
#[must_use]
pub fn shared_source_output(node: &str, from: &str, parent: Uid, n: u32) -> Uid {
    hash(&[node.as_bytes(), from.as_bytes(), &parent.0, &n.to_le_bytes()])
}

/// Identity of an output to which the node gave an id itself: H(PIPELINE/NODE, id).
#[must_use]
pub fn set_by_node(node: &str, id: &str) -> Uid {
    source_event(node, id)
}

/// Identities of the outputs of a whole batch: H(node, every input's from and uid in order, n).
///
/// The inputs are hashed once, whatever the number of outputs.
#[derive(Clone)]
pub struct WholeBatch(Hasher);

impl WholeBatch {
    /// Takes in the inputs: `from` ("" when the node has one upstream) and uid of each, in order.
    pub fn new<'a>(node: &str, inputs: impl Iterator<Item = (&'a str, Uid)>) -> Self {
        let mut hasher = Hasher::new();
        hasher.part(node.as_bytes());
        for (from, uid) in inputs {
            hasher.part(from.as_bytes());
            hasher.part(&uid.0);
        }
        // Without this a batch of one would give the identities of `shared_source_output`.
        hasher.part(b"whole");
        Self(hasher)
    }

    /// Identity of output `n`.
    #[must_use]
    pub fn output(&self, n: u32) -> Uid {
        let mut hasher = self.0.clone();
        hasher.part(&n.to_le_bytes());
        hasher.finish()
    }
}

#[derive(Clone)]
struct Hasher(Sha1);

impl Hasher {
    fn new() -> Self {
        let mut sha1 = Sha1::new();
        sha1.update(NAMESPACE.as_bytes());
        Self(sha1)
    }

    fn part(&mut self, part: &[u8]) {
        let length = u32::try_from(part.len()).expect("parts are limited to 64 KiB");
        self.0.update(length.to_le_bytes());
        self.0.update(part);
    }

    fn finish(self) -> Uid {
        let digest: [u8; 20] = self.0.finalize().into();
        let (uuid, _) = digest.split_first_chunk::<16>().expect("a SHA-1 digest has 20 bytes");
        uuid::Builder::from_sha1_bytes(*uuid).into_uuid().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_is_uuid_v5_over_length_prefixed_parts() {
        let name = b"\x03\0\0\0abc\0\0\0\0\x01\0\0\0d";
        let expected = Uid::from(Uuid::new_v5(&NAMESPACE, name));
        assert_eq!(hash(&[b"abc", b"", b"d"]), expected);
        assert_ne!(hash(&[b"abcd", b""]), expected);
    }

    #[test]
    fn a_text_of_one_block_hashes_like_any_other() {
        for (source, id) in (0..50).flat_map(|source| (0..50).map(move |id| (source, id))) {
            let (source, id) = ("s".repeat(source), "i".repeat(id));
            assert_eq!(source_event(&source, &id), hash(&[source.as_bytes(), id.as_bytes()]), "{source} {id}");
        }
    }

    /// Identities are stored by sinks: a change of any of these is a break for every user.
    #[test]
    fn golden_vectors() {
        let parent = source_event("logs/ingest", "1:0");
        let inputs = [("a", parent), ("b", Uid::NIL)];
        let made = [
            parent,
            output("logs/split", parent, 1),
            shared_source_output("logs/split", "classify", parent, 0),
            set_by_node("logs/split", "order-7"),
            WholeBatch::new("logs/split", inputs.into_iter()).output(2),
        ];
        let golden = [
            "1dda80b48c88568ba773c22d1abfd275",
            "5b43b6b276fe53d89eeab3c3caa4d2fe",
            "59d073447e3e5fbbbf47ded50040fb87",
            "0d8a603639e955bb928f21a74f2bb968",
            "a373774914ea512bae54c2c6a93d776a",
        ];
        assert_eq!(made.map(|uid| uid.to_string()), golden);
    }

    #[test]
    fn rules_never_meet() {
        let parent = source_event("s", "1");
        let one_input = WholeBatch::new("n", [("f", parent)].into_iter());
        assert_ne!(one_input.output(1), shared_source_output("n", "f", parent, 1));
        assert_ne!(shared_source_output("n", "", parent, 1), output("n", parent, 1));
        assert_ne!(output("n", parent, 1), output("n", parent, 2));
    }

    #[test]
    fn reads_both_forms_and_writes_one() {
        let uid: Uid = "0189f7a2-5b1c-7def-8000-0123456789ab".parse().unwrap();
        assert_eq!(uid.to_string(), "0189f7a25b1c7def80000123456789ab");
        assert_eq!(uid.to_string().parse::<Uid>().unwrap(), uid);
        for refused in ["", "0189", "{0189f7a2-5b1c-7def-8000-0123456789ab}", "zz89f7a25b1c7def80000123456789ab"] {
            let error = refused.parse::<Uid>().unwrap_err().to_string();
            assert!(error.contains("32 hexadecimal digits"), "{error}");
        }
    }
}
