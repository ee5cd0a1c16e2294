//! The commands `completions` and `man`, made from the command line itself.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::Resettable;
use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use crate::destination::Destinations;
use crate::failure::Failure;
use crate::output::Output;

// (Doc comments here would become the help of the commands.)
#[allow(missing_docs, reason = "a doc comment here replaces the description of the command")]
#[derive(Debug, Args)]
pub struct CompletionsArguments {
    /// The shell to complete in
    shell: Shell,
}

#[allow(missing_docs, reason = "a doc comment here replaces the description of the command")]
#[derive(Debug, Args)]
pub struct ManArguments {
    /// Write a page a command into DIR, which must exist, instead of printing one page
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl ManArguments {
    /// Whether the page goes to standard output, and nothing is written elsewhere.
    pub fn prints(&self) -> bool {
        self.out.is_none()
    }
}

/// Prints the completion script of the program whose command line is `C`.
///
/// # Errors
///
/// Standard output cannot be written.
pub fn completions<C: CommandFactory>(
    arguments: &CompletionsArguments,
    output: &Output,
) -> Result<ExitCode, Failure> {
    let mut command = C::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, name, &mut script);
    output.bytes(&script)?;
    Ok(ExitCode::SUCCESS)
}

/// Prints the manual page of the program whose command line is `C`, or writes a page a command.
///
/// # Errors
///
/// A page cannot be written.
pub fn man<C: CommandFactory>(
    arguments: &ManArguments,
    destinations: &Destinations<'_>,
) -> Result<ExitCode, Failure> {
    let mut command = C::command();
    let source = format!("{} {}", command.get_name(), command.get_version().unwrap_or_default());
    let Some(dir) = &arguments.out else {
        destinations.output().bytes(&render(&command, &source)?)?;
        return Ok(ExitCode::SUCCESS);
    };
    command.build();
    for (name, page) in pages(&command, &source)? {
        destinations.write(&dir.join(format!("{name}.1")), &page, 0o644)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A page for `command` and for each command below it, by the name of its file.
fn pages(command: &Command, source: &str) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let mut pages = vec![(name, render(command, source)?)];
    for inner in command.get_subcommands() {
        pages.extend(self::pages(inner, source)?);
    }
    Ok(pages)
}

fn render(command: &Command, source: &str) -> Result<Vec<u8>, Failure> {
    let mut page = Vec::new();
    let further = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    // Its sections are written below; the page would call them all EXTRA.
    let rendered = Man::new(command.clone().after_help(Resettable::Reset))
        .source(source)
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
