//! The project's virtual environment, and the model that is trained in it.

use std::{path::PathBuf, process::Command, sync::OnceLock};

use super::{lock, succeed};
use crate::root;

/// Its interpreter.
pub fn python() -> PathBuf {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| PathBuf::from(succeed(&mut Command::new(root().join("sdks/python/venv.sh"))).trim())).clone()
}

/// The folder of the anomaly example's trained model.
pub fn anomaly_model() -> PathBuf {
    static MODEL: OnceLock<PathBuf> = OnceLock::new();
    MODEL
        .get_or_init(|| {
            let classify = root().join("examples/anomaly/classify");
            let _one = lock::hold("anomaly-model");
            succeed(Command::new("sh").arg("setup.sh").current_dir(&classify));
            classify.join("model")
        })
        .clone()
}
