//! Tables for people.

use comfy_table::{CellAlignment, Table, presets};

/// How a column stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Lays rows out below a header, with two columns of space between; no line ends in a space.
pub(crate) fn render(header: &[(&str, Align)], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header.iter().map(|(name, _)| *name));
    for row in rows {
        // A cell is one line, whatever was put into it.
        table.add_row(row.into_iter().map(|cell| cell.split_whitespace().collect::<Vec<_>>().join(" ")));
    }
    for (column, (_, align)) in table.column_iter_mut().zip(header) {
        column.set_padding((0, 2));
        column.set_cell_alignment(match align {
            Align::Left => CellAlignment::Left,
            Align::Right => CellAlignment::Right,
        });
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[test]
fn columns_are_aligned() {
    let rows = [vec!["in".to_owned(), "1,000".to_owned()], vec!["filter".to_owned(), "7\nx".to_owned()]];
    let text = render(&[("node", Align::Left), ("out", Align::Right)], rows);
    assert_eq!(text, "node      out\nin      1,000\nfilter    7 x\n");
}
