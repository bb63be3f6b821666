//! Where the pipeline file and its state are.

use std::path::{Path, PathBuf};

use meshloom_config::Pipeline;

use crate::failure::Failure;

/// Looked for in this order when no file is named.
const DEFAULTS: [&str; 2] = ["meshloom.yaml", "pipeline.yaml"];

/// The pipeline file of a command.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct PipelineFile {
    /// The pipeline file [default: ./meshloom.yaml, then ./pipeline.yaml]
    #[arg(env = "MESHLOOM_FILE")]
    file: Option<PathBuf>,
}

impl PipelineFile {
    /// The file, if it was named.
    pub(crate) fn named(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Where it is.
    pub(crate) fn path(&self) -> Result<PathBuf, Failure> {
        if let Some(file) = &self.file {
            return Ok(file.clone());
        }
        let found = DEFAULTS.iter().map(PathBuf::from).find(|file| file.exists());
        found.ok_or_else(|| {
            Failure::Usage(anyhow::anyhow!(
                "there is neither meshloom.yaml nor pipeline.yaml in this folder; name the pipeline file on the command line"
            ))
        })
    }

    /// Reads it.
    pub(crate) fn load(&self) -> Result<Pipeline, Failure> {
        meshloom_config::load(&self.path()?).map_err(Failure::File)
    }
}

/// Where a pipeline keeps its state unless told otherwise: beside its file.
pub(crate) fn default_state(pipeline: &Pipeline) -> PathBuf {
    state_beside(&pipeline.dir, &pipeline.name)
}

/// Which state directory a command is about.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct StateOf {
    #[command(flatten)]
    file: PipelineFile,
    /// The state directory, when the run was given another than .meshloom/PIPELINE beside the pipeline file
    #[arg(long, value_name = "DIR", env = "MESHLOOM_STATE")]
    state: Option<PathBuf>,
}

impl StateOf {
    /// For a command that has no place for a file among its arguments.
    pub(crate) fn new(file: Option<PathBuf>, state: Option<PathBuf>) -> Self {
        Self { file: PipelineFile { file }, state }
    }

    /// Where it is. Of the file only the name is read, and only if the directory was not named.
    pub(crate) fn path(&self) -> Result<PathBuf, Failure> {
        if let Some(state) = &self.state {
            return Ok(state.clone());
        }
        let (dir, name) = meshloom_config::locate(&self.file.path()?).map_err(Failure::File)?;
        Ok(state_beside(&dir, &name))
    }
}

fn state_beside(dir: &Path, pipeline: &str) -> PathBuf {
    dir.join(".meshloom").join(pipeline)
}
