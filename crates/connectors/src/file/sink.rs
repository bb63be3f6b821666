//! The file sink: whole lines, on the disk before they count as delivered.

use std::{
    fs::{File, OpenOptions},
    io::{self, Seek, SeekFrom, Write},
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use meshloom_config::connector::{FileSink, WriteFormat};
use meshloom_core::exchange::{FromNode, Limits, ToNode, Work};
use tokio::sync::mpsc;

use super::rotate;
use crate::{
    BoxFuture, NodeError, OpenContext, OpenError, ProcessNode,
    calls::{self, Answer, Handler, Reply, whole},
    formats::Encoder,
};

/// Bytes looked at a time for the end of the last whole line.
const LOOK_BACK: u64 = 64 << 10;

/// Appends to a file.
pub(crate) struct FileSinkNode {
    encoder: Encoder,
    file: Arc<Mutex<Appender>>,
    timeout: Duration,
}

/// The file and what belongs to it.
struct Appender {
    spec: FileSink,
    /// Nobody else of this pipeline appends: what a failed write has left can be cut off.
    alone: bool,
    /// A write has failed half way and could not be undone.
    torn: bool,
    open: Option<OpenFile>,
}

struct OpenFile {
    file: File,
    inode: (u64, u64),
    since: SystemTime,
}

impl FileSinkNode {
    pub(crate) fn open(spec: FileSink, context: &OpenContext) -> Result<Self, OpenError> {
        let encoder = encoder(spec.format);
        let refused = |error: io::Error| {
            OpenError::new(
                "FILE_UNWRITABLE",
                format!("node {}: {}: {error}", context.node, spec.path.display()),
                "make its folder, and let the user that runs Meshloom write there",
            )
        };
        let alone = context.replicas <= 1;
        let mut file = Appender { spec: spec.clone(), alone, torn: false, open: None };
        let ours = claim(context, &spec.path).map_err(refused)?;
        file.mend(ours && alone).map_err(refused)?;
        Ok(Self { encoder, file: Arc::new(Mutex::new(file)), timeout: context.timeout })
    }
}

/// How a sink writes events.
pub(crate) fn encoder(format: WriteFormat) -> Encoder {
    match format {
        WriteFormat::Ndjson => Encoder::Ndjson,
        WriteFormat::Text => Encoder::Text,
    }
}

/// Records that this node writes to the file; gives whether it did so before.
fn claim(context: &OpenContext, path: &Path) -> io::Result<bool> {
    let folder = context.state_dir.join("sinks");
    let record = folder.join(format!("{}.path", context.node));
    let bytes = path.as_os_str().as_encoded_bytes();
    if std::fs::read(&record).is_ok_and(|recorded| recorded == bytes) {
        return Ok(true);
    }
    std::fs::create_dir_all(&folder)?;
    let fresh = record.with_extension("new");
    std::fs::write(&fresh, bytes)?;
    std::fs::rename(&fresh, &record)?;
    Ok(false)
}

impl Appender {
    /// Makes the file end with a whole line. What a crash has torn was never acknowledged, so it is cut off; what
    /// somebody else has written is only ended.
    fn mend(&mut self, ours: bool) -> io::Result<()> {
        let (path, file) = (self.spec.path.clone(), &self.ready(0)?.file);
        let length = file.metadata()?.len();
        let whole = end_of_last_line(&path, length)?;
        if whole == length {
            return Ok(());
        }
        if ours {
            file.set_len(whole)?;
        } else {
            (&*file).write_all(b"\n")?;
        }
        file.sync_data()
    }

    /// The file, opened, and moved aside before if it is time.
    fn ready(&mut self, more: u64) -> io::Result<&mut OpenFile> {
        if let Some(open) = &self.open {
            // Someone else, logrotate for one, may have moved it.
            let moved = match self.spec.path.metadata() {
                Ok(meta) => (meta.dev(), meta.ino()) != open.inode,
                Err(error) if error.kind() == io::ErrorKind::NotFound => true,
                Err(error) => return Err(error),
            };
            let size = open.file.metadata()?.len();
            let age = open.since.elapsed().unwrap_or_default();
            if moved {
                self.open = None;
            } else if self.spec.rotate.is_some_and(|rotate| rotate::is_due(&rotate, size, age, more)) {
                rotate::move_aside(&self.spec.path, SystemTime::now())?;
                self.open = None;
            }
        }
        match &mut self.open {
            Some(open) => Ok(open),
            none => Ok(none.insert(OpenFile::append_to(&self.spec.path)?)),
        }
    }

    /// Appends lines; they are on the disk when it returns.
    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.torn {
            self.mend(self.alone)?;
            self.torn = false;
        }
        let alone = self.alone;
        let open = self.ready(lines.len() as u64)?;
        let before = open.file.metadata()?.len();
        let written = (&open.file).write_all(lines).and_then(|()| open.file.sync_data());
        // Half a line must not stay, nor a line that will come again.
        if written.is_err() {
            self.torn = !alone || open.file.set_len(before).is_err();
        }
        written
    }
}

impl OpenFile {
    fn append_to(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).read(true).open(path)?;
        let meta = file.metadata()?;
        // The name of a new file must survive a crash as well as its content.
        if meta.len() == 0
            && let Some(folder) = path.parent()
        {
            File::open(folder)?.sync_all()?;
        }
        let since = meta.created().or_else(|_| meta.modified()).unwrap_or_else(|_| SystemTime::now());
        Ok(Self { file, inode: (meta.dev(), meta.ino()), since })
    }
}

/// Offset behind the last newline of a file.
fn end_of_last_line(path: &PathBuf, length: u64) -> io::Result<u64> {
    let mut file = File::open(path)?;
    let mut end = length;
    while end > 0 {
        let from = end.saturating_sub(LOOK_BACK);
        let mut bytes = vec![0; usize::try_from(end - from).unwrap_or_default()];
        file.seek(SeekFrom::Start(from))?;
        file.read_exact_at(&mut bytes, from)?;
        if let Some(at) = memchr::memrchr(b'\n', &bytes) {
            return Ok(from + at as u64 + 1);
        }
        end = from;
    }
    Ok(0)
}

impl Handler for FileSinkNode {
    async fn call(&self, work: Work, _reply: &Reply) -> Result<Answer, NodeError> {
        let (file, encoder) = (self.file.clone(), self.encoder);
        // A write cannot be taken back half way: a cancel waits for its end.
        let written = tokio::task::spawn_blocking(move || {
            let (batch, rejected) = encoder.split(&work.batch);
            let mut lines = Vec::with_capacity(batch.bytes());
            for row in 0..batch.len() {
                encoder.write(&batch, row, row == 0, &mut lines);
            }
            if !lines.is_empty() {
                file.lock().unwrap_or_else(PoisonError::into_inner).append(&lines)?;
            }
            Ok::<_, io::Error>(Answer::consumed_but(work.batch.len(), rejected))
        });
        let written = written.await.unwrap_or_else(|panic| Err(io::Error::other(panic)));
        Ok(written.unwrap_or_else(|error| {
            Answer::Failed(whole("WRITE_FAILED", format!("the file cannot be written: {error}")))
        }))
    }
}

impl ProcessNode for FileSinkNode {
    fn limits(&self) -> Limits {
        // One write and one sync at a time, in the order in which works come.
        Limits { works: 1, ..Limits::default() }
    }

    fn run(
        self: Box<Self>,
        input: mpsc::Receiver<ToNode>,
        output: mpsc::Sender<FromNode>,
    ) -> BoxFuture<'static, Result<(), NodeError>> {
        let timeout = self.timeout;
        Box::pin(calls::run(*self, timeout, input, output))
    }
}
