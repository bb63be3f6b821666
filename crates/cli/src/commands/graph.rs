//! `meshloom graph`.

use std::process::ExitCode;

use meshloom_config::render;

use crate::{failure::Failure, place::PipelineFile, terminal};

/// Draw a pipeline
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    file: PipelineFile,
    /// How to draw it
    #[arg(long, value_enum, default_value_t, env = "MESHLOOM_FORMAT")]
    format: Format,
}

#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
enum Format {
    /// For Markdown on GitHub, GitLab, ...
    #[default]
    Mermaid,
    /// For Graphviz
    Dot,
    /// A picture
    Svg,
}

pub(crate) fn main(args: &Args) -> Result<ExitCode, Failure> {
    let pipeline = args.file.load()?;
    let drawn = match args.format {
        Format::Mermaid => render::mermaid(&pipeline),
        Format::Dot => render::dot(&pipeline),
        Format::Svg => render::svg(&pipeline),
    };
    terminal::end_with_the_reader();
    println!("{}", drawn.trim_end());
    Ok(ExitCode::SUCCESS)
}
