//! `aegisbpf completions` and `aegisbpf man`, made from the command line itself.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Command, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::command_line::CommandLine;
use crate::destination;
use crate::failure::Failure;
use crate::session::Session;

#[derive(Args)]
pub(crate) struct CompletionsArguments {
    /// The shell to complete in
    shell: Shell,
}

#[derive(Args)]
pub(crate) struct ManArguments {
    /// Write a page a command into DIR, which must exist, instead of printing one page
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(crate) fn completions(arguments: &CompletionsArguments, session: &Session) -> Result<ExitCode, Failure> {
    let mut command = CommandLine::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, name, &mut script);
    session.output.bytes(&script)?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn man(arguments: &ManArguments, session: &Session) -> Result<ExitCode, Failure> {
    let Some(dir) = &arguments.out else {
        let page = render(&CommandLine::command())?;
        session.output.bytes(&page)?;
        return Ok(ExitCode::SUCCESS);
    };
    let mut command = CommandLine::command();
    command.build();
    for (name, page) in pages(&command)? {
        let file = dir.join(format!("{name}.1"));
        destination::write(&file, &page, 0o644, session)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A page for `command` and for each command below it, by the name of its file.
fn pages(command: &Command) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let mut pages = vec![(name, render(command)?)];
    for inner in command.get_subcommands() {
        pages.extend(self::pages(inner)?);
    }
    Ok(pages)
}

fn render(command: &Command) -> Result<Vec<u8>, Failure> {
    let mut page = Vec::new();
    Man::new(command.clone())
        .render(&mut page)
        .map_err(|error| Failure::new("cannot write the manual page", &error, None))?;
    Ok(page)
}
