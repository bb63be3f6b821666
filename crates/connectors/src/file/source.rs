//! The file source: reads files in order, follows those that grow, and goes on where it was.

use std::{
    fs::File,
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use meshloom_config::connector::{FileSource, ReadFormat};
use meshloom_core::exchange::{FromSource, ToSource};
use tokio::sync::mpsc;

use super::{
    book::Book,
    identify::{Glimpse, read_full},
    position::{self, Position},
    scan::scan,
};
use crate::{
    BoxFuture, NodeError, OpenContext, OpenError, SourceNode,
    feed::{Feed, Reading},
    formats::{Decoder, FormatError},
    link::{Link, Stopped},
};

/// Bytes read at a time.
const CHUNK: usize = 256 << 10;
/// How often followed files are looked at.
const POLL: Duration = Duration::from_millis(200);
/// A file that has lost its name is read for so long after its last bytes came.
const GONE: Duration = Duration::from_secs(5);
/// Files in one checkpoint.
const MOST_FILES: usize = 1000;

/// Reads files.
pub(crate) struct FileSourceNode {
    spec: FileSource,
    context: OpenContext,
    positions: Vec<Position>,
}

/// Why reading ended.
enum Ended {
    Stopped,
    Failed(NodeError),
}

impl From<Stopped> for Ended {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

impl From<NodeError> for Ended {
    fn from(error: NodeError) -> Self {
        Self::Failed(error)
    }
}

/// A file that is open.
struct Open {
    file: Arc<File>,
    path: PathBuf,
    device: u64,
    inode: u64,
    /// Index of its position.
    position: usize,
    feed: Feed,
    /// When its last bytes came.
    grew: Instant,
}

impl FileSourceNode {
    pub(crate) fn open(spec: FileSource, context: OpenContext) -> Result<Self, OpenError> {
        let positions = match &context.checkpoint {
            None => Vec::new(),
            Some(checkpoint) => position::decode(checkpoint).map_err(|error| {
                OpenError::new(
                    "BAD_CHECKPOINT",
                    format!("node {}: the stored position is not one of a file source: {error}", context.node),
                    "if the node was something else before, start over with --fresh",
                )
            })?,
        };
        let files = scan(&spec.paths)?;
        if files.is_empty() && !spec.follow {
            return Err(OpenError::new(
                "NO_FILES",
                format!("node {}: no file matches {}", context.node, spec.paths.join(", ")),
                "connector paths are relative to the pipeline file; `follow: true` waits for files to come",
            ));
        }
        if files.len() > MOST_FILES {
            return Err(OpenError::new(
                "TOO_MANY_FILES",
                format!(
                    "node {}: {} files match, at most {MOST_FILES} can be kept track of",
                    context.node,
                    files.len()
                ),
                "narrow the pattern, or move files away once they have been read",
            ));
        }
        Ok(Self { spec, context, positions })
    }
}

/// A source that runs.
struct Reader {
    spec: FileSource,
    context: OpenContext,
    link: Link,
    book: Book,
}

impl Reader {
    /// Reads every file to its end.
    async fn read_all(&mut self) -> Result<(), Ended> {
        // First each known file gets its own position back, before one that begins like it can take it.
        let mut files = Vec::new();
        for path in scan(&self.spec.paths)? {
            if let Some((file, mut glimpse)) = look(&path)? {
                let position = self.book.known(&file, &mut glimpse, true).map_err(|error| unreadable(&path, &error))?;
                files.push((path, position));
            }
        }
        for (path, position) in files {
            let Some((file, mut glimpse)) = look(&path)? else {
                continue;
            };
            let position = match position {
                Some(position) if self.book.position(position).inode == glimpse.inode => Some(position),
                _ => self.book.identify(&file, &mut glimpse, None).map_err(|error| unreadable(&path, &error))?,
            };
            if let Some(position) = position {
                let mut open = self.begin(file, path, position).await?;
                self.drain(&mut open, true).await?;
            }
        }
        self.link.exhausted().await;
        Ok(())
    }

    /// Reads what is there, again and again.
    async fn follow(&mut self) -> Result<(), Ended> {
        let mut files: Vec<Open> = Vec::new();
        loop {
            self.discover(&mut files).await?;
            for mut open in std::mem::take(&mut files) {
                let gone = !open.has_its_name() && open.grew.elapsed() > GONE;
                self.drain(&mut open, gone).await?;
                if gone {
                    self.book.release(open.position);
                } else {
                    files.push(open);
                }
            }
            let until = tokio::time::Instant::now() + POLL;
            loop {
                tokio::select! {
                    () = tokio::time::sleep_until(until) => break,
                    heard = self.link.hear() => heard.map(|_| ())?,
                }
            }
        }
    }

    /// Opens files that are new, and finds those that were renamed or cut off.
    async fn discover(&mut self, files: &mut Vec<Open>) -> Result<(), Ended> {
        let lines = if self.spec.format == ReadFormat::Csv { 2 } else { 1 };
        let mut new = Vec::new();
        let patterns = self.spec.paths.clone();
        let scanned = tokio::task::spawn_blocking(move || scan(&patterns)).await;
        for path in scanned.map_err(|panic| NodeError::new("HANDLER_PANIC", panic.to_string(), "this is a bug"))?? {
            let meta = match path.metadata() {
                Ok(meta) => meta,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(unreadable(&path, &error).into()),
            };
            if let Some(at) = files.iter().position(|open| (open.device, open.inode) == (meta.dev(), meta.ino())) {
                if meta.len() >= files[at].feed.decoder.fed() {
                    files[at].path = path;
                    continue;
                }
                self.context.say(format!("{} was cut off: it is read again from its beginning", path.display())).await;
                files.remove(at);
            }
            let Some((file, mut glimpse)) = look(&path)? else { continue };
            // Known files first, as in `read_all`.
            let known = self.book.known(&file, &mut glimpse, true).map_err(|error| unreadable(&path, &error))?;
            new.push((file, glimpse, path, known));
        }
        for (file, mut glimpse, path, known) in new {
            let position = match known {
                Some(position) => Some(position),
                None => {
                    self.book.identify(&file, &mut glimpse, Some(lines)).map_err(|error| unreadable(&path, &error))?
                }
            };
            if let Some(position) = position {
                files.push(self.begin(file, path, position).await?);
            }
        }
        Ok(())
    }

    /// Makes a file ready to be read from its position.
    async fn begin(&self, file: File, path: PathBuf, position: usize) -> Result<Open, Ended> {
        let meta = file.metadata().map_err(|error| unreadable(&path, &error))?;
        let limit = usize::try_from(self.context.max_event).unwrap_or(usize::MAX);
        let content_type = if self.spec.format == ReadFormat::Text { "text/plain" } else { "application/json" };
        let reading = Reading { content_type: Some(content_type), ..Reading::default() };
        let known = self.book.position(position);
        let decoder = Decoder::new(self.spec.format, limit);
        let mut open = Open {
            feed: Feed::with_identity(decoder, reading, known.identity.clone()),
            file: Arc::new(file),
            path,
            device: meta.dev(),
            inode: meta.ino(),
            position,
            grew: Instant::now(),
        };
        let offset = known.offset;
        if offset > 0 {
            while !open.feed.decoder.can_jump() {
                // A table's header: it comes before any position, or the position is not of this file.
                if open.read().await.map_err(|error| unreadable(&open.path, &error))? == 0 {
                    break;
                }
                let header = open.feed.decoder.next_record().map(|_| ());
                header.map_err(|error| bad_format(&open.path, &error))?;
            }
            open.feed.decoder.jump(offset);
        }
        Ok(open)
    }

    /// Reads a file as far as it goes; with `last` also a line that was not ended.
    async fn drain(&mut self, open: &mut Open, last: bool) -> Result<(), Ended> {
        let mut ended = false;
        loop {
            let credit = self.link.ready(None).await?;
            if let Some(frame) = open.feed.frame(credit).map_err(|error| bad_format(&open.path, &error))? {
                let checkpoint = self.book.advance(open.position, &open.file, frame.end).map_err(|error| {
                    NodeError::new(
                        "CHECKPOINT_FAILED",
                        format!("{}: {error}", open.path.display()),
                        "narrow the pattern, or move files away once they have been read",
                    )
                })?;
                self.link.send(frame.batch, Some(checkpoint)).await?;
                continue;
            }
            if ended {
                return Ok(());
            }
            if open.read().await.map_err(|error| unreadable(&open.path, &error))? == 0 {
                if !last {
                    return Ok(());
                }
                open.feed.decoder.finish();
                ended = true;
            }
        }
    }
}

impl Open {
    /// Feeds the next bytes; 0: there are none now.
    async fn read(&mut self) -> io::Result<usize> {
        let (file, offset) = (self.file.clone(), self.feed.decoder.fed());
        let read = tokio::task::spawn_blocking(move || {
            let mut chunk = vec![0; CHUNK];
            let read = read_full(&file, &mut chunk, offset)?;
            chunk.truncate(read);
            Ok::<_, io::Error>(chunk)
        });
        let chunk = read.await.map_err(io::Error::other)??;
        if !chunk.is_empty() {
            self.grew = Instant::now();
            self.feed.decoder.feed(&chunk);
        }
        Ok(chunk.len())
    }

    /// Whether the name under which it was found is still its own.
    fn has_its_name(&self) -> bool {
        self.path.metadata().is_ok_and(|meta| (meta.dev(), meta.ino()) == (self.device, self.inode))
    }
}

/// Opens a file and looks at it; `None`: it is there no more.
fn look(path: &Path) -> Result<Option<(File, Glimpse)>, NodeError> {
    let looked = File::open(path).and_then(|file| Glimpse::of(&file).map(|glimpse| (file, glimpse)));
    match looked {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(path, &error)),
    }
}

fn unreadable(path: &Path, error: &io::Error) -> NodeError {
    NodeError::new(
        "FILE_UNREADABLE",
        format!("{}: {error}", path.display()),
        "let the user that runs Meshloom read it, or name other files",
    )
}

fn bad_format(path: &Path, error: &FormatError) -> NodeError {
    let remedy = match error.code {
        "EVENT_TOO_LARGE" => "raise `max_event`, or cut the event up before",
        _ => "repair the file, or choose another `format`; what stands before it has been read",
    };
    NodeError::new(error.code, format!("{}: {error}", path.display()), remedy)
}

impl SourceNode for FileSourceNode {
    fn replays(&self) -> bool {
        true
    }

    fn run(
        self: Box<Self>,
        input: mpsc::Receiver<ToSource>,
        output: mpsc::Sender<FromSource>,
    ) -> BoxFuture<'static, Result<(), NodeError>> {
        let follow = self.spec.follow;
        let mut reader = Reader {
            link: Link::new(input, output),
            book: Book::new(self.positions),
            spec: self.spec,
            context: self.context,
        };
        Box::pin(async move {
            let ended = if follow { reader.follow().await } else { reader.read_all().await };
            match ended {
                Ok(()) | Err(Ended::Stopped) => Ok(()),
                Err(Ended::Failed(error)) => Err(error),
            }
        })
    }
}
