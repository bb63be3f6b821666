//! The connector that speaks plain TCP.

use super::{Load, node::Draft};
use crate::{
    connector::{Framing, ReadFormat, TcpSource},
    read::{self, Fields},
};

const LINES: [(&str, ReadFormat); 3] =
    [("ndjson", ReadFormat::Ndjson), ("text", ReadFormat::Text), ("csv", ReadFormat::Csv)];
const LENGTH: [(&str, ReadFormat); 2] = [("json", ReadFormat::Json), ("text", ReadFormat::Text)];

impl Load<'_> {
    pub(super) fn tcp_source(&mut self, with: &Fields<'_>, draft: &mut Draft) -> Option<TcpSource> {
        with.only(&["listen", "framing", "format"], "a `tcp` source", &mut self.report);
        let framings = [("lines", Framing::Lines), ("length", Framing::Length)];
        let framing = with.value("framing").and_then(|value| read::choice(value, &framings, &mut self.report));
        let framing = framing.unwrap_or_default();
        let format = match framing {
            Framing::Lines => self.format(with, &LINES),
            Framing::Length if with.value("format").is_none() => ReadFormat::Json,
            Framing::Length => self.format(with, &LENGTH),
        };
        Some(TcpSource { listen: self.listen(with, draft)?, framing, format })
    }
}
