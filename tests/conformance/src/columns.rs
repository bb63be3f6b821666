//! Columns as they stand on the wire.

use bytes::Bytes;
use meshloom_proto::v1;

/// An index that names no value.
pub(crate) const ABSENT: u32 = u32::MAX;

/// A time that is not there.
pub(crate) const TIME_ABSENT: i64 = i64::MIN;

/// A time of an output that is its parent's.
pub(crate) const TIME_INHERITED: i64 = i64::MIN + 1;

/// Numbers as u32 little-endian.
pub(crate) fn u32s(numbers: impl IntoIterator<Item = u32>) -> Bytes {
    numbers.into_iter().flat_map(u32::to_le_bytes).collect::<Vec<_>>().into()
}

/// u32 little-endian as numbers; `None`: the length is no multiple of four.
pub(crate) fn read_u32s(column: &[u8]) -> Option<Vec<u32>> {
    let (words, rest) = column.as_chunks::<4>();
    rest.is_empty().then(|| words.iter().map(|word| u32::from_le_bytes(*word)).collect())
}

/// Values end to end.
pub(crate) fn values<T: AsRef<[u8]>>(values: impl IntoIterator<Item = T>) -> v1::Values {
    let (mut data, mut ends) = (Vec::new(), Vec::new());
    for value in values {
        data.extend_from_slice(value.as_ref());
        ends.extend_from_slice(&(data.len() as u32).to_le_bytes());
    }
    v1::Values { data: data.into(), ends: ends.into() }
}

/// The single values.
pub(crate) fn read_values(column: &v1::Values) -> Result<Vec<Bytes>, String> {
    let ends = read_u32s(&column.ends).ok_or("its `ends` are no multiple of 4 bytes")?;
    let mut start = 0;
    let mut found = Vec::with_capacity(ends.len());
    for end in ends.into_iter().map(|end| end as usize) {
        if end < start || end > column.data.len() {
            return Err(format!("an end of {end} follows one of {start}, and there are {} bytes", column.data.len()));
        }
        found.push(column.data.slice(start..end));
        start = end;
    }
    if start != column.data.len() {
        return Err(format!("its last end is {start}, and there are {} bytes", column.data.len()));
    }
    Ok(found)
}

/// How a column of texts is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Style {
    /// As short as can be: nothing, one value for all, a value each, or a dictionary where some are absent.
    #[default]
    Short,
    /// With an index always.
    Dictionary,
    /// A value each where none is absent; columns of which all are absent stand there without a value.
    Plain,
}

/// A column of texts.
pub(crate) fn strings(cells: &[Option<&str>], style: Style) -> Option<v1::Strings> {
    let empty = || v1::Strings { values: Some(v1::Values::default()), index: Bytes::new() };
    if cells.iter().all(Option::is_none) {
        return match style {
            Style::Short => None,
            Style::Plain => Some(empty()),
            Style::Dictionary => {
                Some(v1::Strings { values: Some(v1::Values::default()), index: u32s(cells.iter().map(|_| ABSENT)) })
            }
        };
    }
    let present: Vec<&str> = cells.iter().flatten().copied().collect();
    let whole = present.len() == cells.len();
    let one = whole && present.iter().all(|cell| *cell == present[0]);
    match style {
        Style::Short if one => Some(v1::Strings { values: Some(values([present[0]])), index: Bytes::new() }),
        Style::Short | Style::Plain if whole => {
            Some(v1::Strings { values: Some(values(present)), index: Bytes::new() })
        }
        _ => Some(dictionary(cells)),
    }
}

fn dictionary(cells: &[Option<&str>]) -> v1::Strings {
    let mut distinct: Vec<&str> = Vec::new();
    let mut slots = std::collections::HashMap::new();
    let index = cells.iter().map(|cell| match cell {
        None => ABSENT,
        Some(text) => *slots.entry(*text).or_insert_with(|| {
            distinct.push(text);
            distinct.len() as u32 - 1
        }),
    });
    let index = u32s(index);
    v1::Strings { values: Some(values(distinct)), index }
}

/// What a column of texts says of each of `count` rows; `None`: it says nothing.
pub(crate) fn read_strings(column: Option<&v1::Strings>, count: usize) -> Result<Vec<Option<String>>, String> {
    let Some(column) = column else { return Ok(vec![None; count]) };
    let found = column.values.as_ref().map(read_values).transpose()?.unwrap_or_default();
    let found: Vec<String> = found
        .iter()
        .map(|value| {
            std::str::from_utf8(value).map(str::to_owned).map_err(|error| format!("a value is no UTF-8: {error}"))
        })
        .collect::<Result<_, _>>()?;
    if column.index.is_empty() {
        return match found.len() {
            0 => Ok(vec![None; count]),
            1 => Ok(vec![Some(found[0].clone()); count]),
            n if n == count => Ok(found.into_iter().map(Some).collect()),
            n => Err(format!("it has {n} values and no index for {count} rows")),
        };
    }
    let index = read_u32s(&column.index).ok_or("its `index` is no multiple of 4 bytes")?;
    if index.len() != count {
        return Err(format!("its `index` has {} entries for {count} rows", index.len()));
    }
    let cell = |slot: u32| match slot {
        ABSENT => Ok(None),
        slot => {
            found.get(slot as usize).cloned().map(Some).ok_or(format!("an index of {slot} for {} values", found.len()))
        }
    };
    index.into_iter().map(cell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_says_the_same_in_every_style() {
        let columns: [&[Option<&str>]; 4] =
            [&[None, None], &[Some("a"), Some("a")], &[Some("a"), Some("")], &[Some("a"), None, Some("a"), Some("b")]];
        for cells in columns {
            for style in [Style::Short, Style::Dictionary, Style::Plain] {
                let column = strings(cells, style);
                let read = read_strings(column.as_ref(), cells.len()).unwrap();
                let read: Vec<Option<&str>> = read.iter().map(Option::as_deref).collect();
                assert_eq!(read, cells, "{style:?}");
            }
        }
        assert!(strings(&[None], Style::Short).is_none());
        assert_eq!(strings(&[Some("a"), Some("a")], Style::Short).unwrap().values.unwrap().ends.len(), 4);
    }

    #[test]
    fn a_broken_column_is_not_read() {
        let broken = v1::Values { data: Bytes::from_static(b"abc"), ends: u32s([2, 1]) };
        assert!(read_values(&broken).is_err());
        assert!(read_values(&v1::Values { ends: u32s([2]), ..broken.clone() }).is_err());
        assert!(read_values(&v1::Values { ends: Bytes::from_static(&[0; 3]), ..broken }).is_err());
        let column = v1::Strings { values: Some(values(["a"])), index: u32s([1]) };
        assert!(read_strings(Some(&column), 1).is_err());
        assert!(read_strings(Some(&column), 2).is_err());
    }
}
