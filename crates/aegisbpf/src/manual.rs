//! `aegisbpf completions` and `aegisbpf man`, made from the command line itself.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::Resettable;
use clap::{Args, Command, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

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
    let further = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    // Its sections are written below; the page would call them all EXTRA.
    let rendered = Man::new(command.clone().after_help(Resettable::Reset))
        .source(concat!("aegisbpf ", env!("CARGO_PKG_VERSION")))
        .manual("Aegis")
        .render(&mut page)
        .and_then(|()| further_sections(&further).to_writer(&mut page));
    rendered.map_err(|error| Failure::new("cannot write the manual page", &error, None))?;
    Ok(page)
}

/// The text below the options of `--help`: its examples, and whatever else a paragraph says.
fn further_sections(text: &str) -> Roff {
    let mut roff = Roff::new();
    for paragraph in text.split("\n\n").filter(|paragraph| !paragraph.is_empty()) {
        let (title, paragraph) = match paragraph.strip_prefix("Examples:\n") {
            Some(examples) => ("EXAMPLES", examples),
            None => ("NOTES", paragraph),
        };
        roff.control("SH", [title]).control("nf", []);
        for line in paragraph.lines() {
            roff.text([roman(line)]);
        }
        roff.control("fi", []);
    }
    roff
}
