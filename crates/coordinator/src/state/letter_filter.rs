//! Which dead letters a command is about.

use meshloom_core::ids::Uid;
use meshloom_proto::v1;

use super::letter_store::LetterRecord;

/// Which letters; what is `None` does not matter, so the default takes all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LetterFilter {
    /// Of this node.
    pub node: Option<String>,
    /// With this reason.
    pub reason: Option<String>,
    /// Of this event.
    pub uid: Option<Uid>,
    /// Not older than this: Unix time in nanoseconds.
    pub since: Option<u64>,
    /// Older than this: Unix time in nanoseconds.
    pub before: Option<u64>,
}

impl LetterFilter {
    /// Whether a letter is meant.
    pub fn takes(&self, letter: &LetterRecord) -> bool {
        let same = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
        same(&self.node, &letter.node)
            && same(&self.reason, &letter.reason)
            && self.uid.is_none_or(|uid| letter.uid() == Some(uid))
            && self.since.is_none_or(|since| letter.time >= since)
            && self.before.is_none_or(|before| letter.time < before)
    }

    /// From a request.
    ///
    /// # Errors
    /// What is malformed. Nothing is left out in silence: a filter that takes more than was meant would discard it.
    pub(crate) fn decode(filter: v1::DeadLetterFilter) -> Result<Self, &'static str> {
        let text = |text: String| (!text.is_empty()).then_some(text);
        let uid = match &filter.uid[..] {
            [] => None,
            bytes => Some(Uid::from_bytes(bytes.try_into().map_err(|_| "a uid has 16 bytes")?)),
        };
        let (since, before) = (filter.since.map(nanos).transpose()?, filter.before.map(nanos).transpose()?);
        Ok(Self { node: text(filter.node), reason: text(filter.reason), uid, since, before })
    }
}

impl From<&LetterFilter> for v1::DeadLetterFilter {
    fn from(filter: &LetterFilter) -> Self {
        Self {
            node: filter.node.clone().unwrap_or_default(),
            reason: filter.reason.clone().unwrap_or_default(),
            uid: filter.uid.map(|uid| uid.as_bytes().to_vec()).unwrap_or_default().into(),
            since: filter.since.map(timestamp),
            before: filter.before.map(timestamp),
        }
    }
}

/// Unix time in nanoseconds as a message.
pub(crate) fn timestamp(nanos: u64) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: (nanos / 1_000_000_000) as i64, nanos: (nanos % 1_000_000_000) as i32 }
}

fn nanos(time: prost_types::Timestamp) -> Result<u64, &'static str> {
    let nanos = i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos);
    u64::try_from(nanos).map_err(|_| "a time lies between the years 1970 and 2554")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::letter_store::tests::letter;

    #[test]
    fn each_part_of_a_filter_narrows_it() {
        let taken = |filter: LetterFilter| (1..=4).filter(|n| filter.takes(&letter(*n))).collect::<Vec<_>>();
        let all = LetterFilter::default;
        assert_eq!(taken(all()), [1, 2, 3, 4]);
        assert_eq!(taken(LetterFilter { node: Some("filter".into()), ..all() }), [1, 2, 3, 4]);
        assert_eq!(taken(LetterFilter { node: Some("other".into()), ..all() }), [0; 0]);
        assert_eq!(taken(LetterFilter { reason: Some("OTHER".into()), ..all() }), [0; 0]);
        assert_eq!(taken(LetterFilter { uid: letter(3).uid(), ..all() }), [3]);
        assert_eq!(taken(LetterFilter { since: Some(2), before: Some(4), ..all() }), [2, 3]);
    }

    #[test]
    fn a_filter_crosses_the_wire_whole_or_not_at_all() {
        let filter = LetterFilter {
            node: Some("n".into()),
            reason: Some("R".into()),
            uid: letter(7).uid(),
            since: Some(1_500_000_000_123_456_789),
            before: Some(u64::MAX),
        };
        assert_eq!(LetterFilter::decode((&filter).into()), Ok(filter));
        assert_eq!(LetterFilter::decode(v1::DeadLetterFilter::default()), Ok(LetterFilter::default()));
        let short = v1::DeadLetterFilter { uid: vec![1, 2].into(), ..Default::default() };
        assert_eq!(LetterFilter::decode(short), Err("a uid has 16 bytes"));
        let ancient = prost_types::Timestamp { seconds: -1, nanos: 0 };
        let ancient = v1::DeadLetterFilter { before: Some(ancient), ..Default::default() };
        assert!(LetterFilter::decode(ancient).unwrap_err().contains("1970"));
    }
}
