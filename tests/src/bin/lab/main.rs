//! The lab launcher: what `make run`, `make stop` and `make reset` call.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use knarr_tests::lab::{Lab, USUAL_NAME, holder};

mod hello;

const USAGE: &str = "usage: lab [--name NAME] [--knarr FILE] [--files DIR] run|up|stop|reset|hold";

struct Options {
    name: String,
    knarr: PathBuf,
    files: PathBuf,
    command: String,
}

fn options() -> Result<Options> {
    let mut options = Options {
        name: USUAL_NAME.into(),
        knarr: std::env::current_exe()?.with_file_name("knarr"),
        files: "target/lab".into(),
        command: String::new(),
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--name" => options.name = value()?,
            "--knarr" => options.knarr = value()?.into(),
            "--files" => options.files = value()?.into(),
            word if options.command.is_empty() && !word.starts_with('-') => options.command = word.into(),
            _ => bail!(USAGE),
        }
    }
    Ok(options)
}

fn main() -> ExitCode {
    match options().and_then(|options| act(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn act(options: &Options) -> Result<()> {
    if options.command == holder::COMMAND {
        return holder::hold(&options.name);
    }
    let lab = Lab::new(&options.name, &options.knarr, &options.files)?;
    match options.command.as_str() {
        "run" => {
            eprintln!("starting the lab {} ...", options.name);
            lab.up()?;
            hello::show(&lab)
        }
        "up" => lab.up(),
        "stop" => {
            lab.stop()?;
            eprintln!("knarr has stopped in the lab {}; its pods, DNS and flows go on", options.name);
            Ok(())
        }
        "reset" => {
            lab.reset()?;
            eprintln!("nothing is left of the lab {}", options.name);
            Ok(())
        }
        _ => bail!(USAGE),
    }
}
