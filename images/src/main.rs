//! `images DIRECTORY`: writes the archives `pause.tar` and, given a static busybox, `busybox.tar` and `web.tar`.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use knarr_images::{BUSYBOX_NAMES, Error, Image, busybox, pause, web, write_archive};

/// Writes this project's images as archives for `ctr images import` or knarr's image directory.
#[derive(Parser)]
struct Arguments {
    /// Where the archives go.
    directory: PathBuf,
    /// A static busybox (Debian's package busybox-static), to build busybox.tar and web.tar from.
    #[arg(long)]
    busybox: Option<PathBuf>,
    /// Further names for the busybox image.
    #[arg(long)]
    name: Vec<String>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("images: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Error> {
    std::fs::create_dir_all(&arguments.directory)?;
    write(&arguments.directory.join("pause.tar"), pause()?)?;
    if let Some(program) = &arguments.busybox {
        let names: Vec<&str> = BUSYBOX_NAMES.iter().copied().chain(arguments.name.iter().map(String::as_str)).collect();
        write(&arguments.directory.join("busybox.tar"), busybox(program, &names)?)?;
        write(&arguments.directory.join("web.tar"), web(program)?)?;
    }
    Ok(())
}

/// Replaces the file at once, so that an importer never sees half of it.
fn write(path: &Path, image: Image) -> Result<(), Error> {
    let partial = path.with_extension("partial");
    write_archive(&[image], BufWriter::new(File::create(&partial)?))?;
    Ok(std::fs::rename(partial, path)?)
}
