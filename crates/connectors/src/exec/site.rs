//! The files of one run: laid out before it, named in its command.

use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};

use meshloom_config::exec::ExecCwd;
use meshloom_core::{batch::Batch, exchange::Failure};

use super::{
    batch::CHUNK,
    logs,
    paths::{self, Placeholders},
    program::{Occasion, Run, SharedProgram},
};
use crate::{LogStream, formats::Encoder};

/// The files of one run.
pub(super) struct Site {
    pub(super) scratch: PathBuf,
    pub(super) cwd: PathBuf,
    pub(super) inputs: Vec<PathBuf>,
    pub(super) output: Option<PathBuf>,
}

impl Site {
    /// The site of a source's run: no inputs.
    pub(super) fn of_source(program: &SharedProgram) -> io::Result<Self> {
        let context = &program.context;
        let scratch = context.state_dir.join("scratch").join(&context.node).join("run");
        let cwd = match program.spec.cwd {
            ExecCwd::Dir => context.dir.clone(),
            ExecCwd::Scratch => scratch.clone(),
        };
        let output = program.spec.output.as_ref().map(|file| cwd.join(file));
        let site = Self { scratch, cwd, inputs: Vec::new(), output };
        site.clear().map_err(|(path, error)| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
        Ok(site)
    }

    fn clear(&self) -> Result<(), (PathBuf, io::Error)> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |error| (path, error)
        };
        fs::remove_dir_all(&self.scratch).or_else(ignore_missing).map_err(at(&self.scratch))?;
        fs::create_dir_all(&self.scratch).map_err(at(&self.scratch))?;
        for file in self.inputs.iter().chain(&self.output) {
            fs::remove_file(file).or_else(ignore_missing).map_err(at(file))?;
            if let Some(folder) = file.parent() {
                fs::create_dir_all(folder).map_err(at(folder))?;
            }
        }
        Ok(())
    }

    /// Removes what an earlier run has left, and writes the inputs.
    pub(super) fn lay_out(
        &self,
        encoder: Encoder,
        batch: &Batch,
        rows: &[Vec<usize>],
    ) -> Result<(), (PathBuf, io::Error)> {
        self.clear()?;
        for (path, rows) in self.inputs.iter().zip(rows) {
            write_input(path, encoder, batch, rows).map_err(|error| (path.clone(), error))?;
        }
        Ok(())
    }
}

fn write_input(path: &Path, encoder: Encoder, batch: &Batch, rows: &[usize]) -> io::Result<()> {
    let mut file = fs::File::create(path)?;
    let mut chunk = Vec::with_capacity(CHUNK);
    encoder.begin(&mut chunk);
    for (place, &row) in rows.iter().enumerate() {
        encoder.write(batch, row, place == 0, &mut chunk);
        if chunk.len() >= CHUNK {
            file.write_all(&chunk)?;
            chunk.clear();
        }
    }
    encoder.end(&mut chunk);
    file.write_all(&chunk)
}

/// Starts the program on the files of a run.
pub(super) async fn start(program: &SharedProgram, site: &Site, occasion: &Occasion) -> Result<Run, Failure> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let mut values = vec![
        ("dir".to_owned(), text(&program.context.dir)),
        ("scratch".to_owned(), text(&site.scratch)),
        ("batch".to_owned(), occasion.batch.clone().unwrap_or_default()),
    ];
    values.extend(site.output.as_deref().map(|output| ("output".to_owned(), text(output))));
    for (input, path) in program.spec.inputs.iter().zip(&site.inputs) {
        values.push((format!("input.{}", input.upstream), text(path)));
        if site.inputs.len() == 1 {
            values.push(("input".to_owned(), text(path)));
        }
    }
    let dir = &program.context.dir;
    let placeholders = Placeholders::new(values);
    let (command, args) = paths::command(&program.spec.command, dir, site.cwd != *dir, &placeholders);
    program.start(command, args, &site.cwd, occasion).await
}

/// Waits for its end; what it writes to its standard output goes to the log.
pub(super) async fn wait(program: &SharedProgram, run: &mut Run) -> Result<(), Failure> {
    // It gets no events there: it must not wait for any.
    run.stdin = None;
    let log = logs::copy(&mut run.stdout, LogStream::Stdout, program.context.log.clone(), None);
    let ((), ended) = tokio::join!(log, run.end.wait());
    ended
}

/// What is not there need not be removed.
pub(super) fn ignore_missing(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}
