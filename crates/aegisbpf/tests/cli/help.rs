//! The help of every command, found by walking the help itself.

use std::path::Path;

use crate::program::{fixtures, run};

/// Every command, as the words that name it.
fn commands(dir: &Path) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut open = vec![Vec::new()];
    while let Some(words) = open.pop() {
        let help = help(dir, &words);
        let listed =
            help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
        for line in listed {
            let name = line.split_whitespace().next().unwrap().to_owned();
            open.push([words.clone(), vec![name]].concat());
        }
        found.push(words);
    }
    found
}

fn help(dir: &Path, words: &[String]) -> String {
    let arguments: Vec<&str> = words.iter().map(String::as_str).chain(["--help"]).collect();
    let output = run(dir, &arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The examples, without `sudo`, redirections and what the output is piped into.
fn examples(help: &str) -> Vec<Vec<String>> {
    let block = help.split("Examples:\n").nth(1).unwrap_or_default().replace("\\\n", " ");
    let lines = block.lines().map(str::trim).map(|line| line.strip_prefix("sudo ").unwrap_or(line));
    lines.filter_map(|line| line.strip_prefix("aegisbpf ")).map(words).collect()
}

/// Splits at spaces outside of quotes, up to the first word of the shell's own.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for character in line.chars() {
        match (quote, character) {
            (None, '"' | '\'') => quote = Some(character),
            (Some(open), _) if open == character => quote = None,
            (None, ' ') => words.push(String::new()),
            (None, '|' | '>' | '<' | '&') => break,
            _ => words.last_mut().unwrap().push(character),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn every_command_has_an_example_and_a_sentence() {
    let dir = fixtures();
    let commands = commands(dir.path());
    assert!(commands.len() > 35, "the walk found {} commands only", commands.len());
    for command in commands {
        let help = help(dir.path(), &command);
        assert!(!examples(&help).is_empty(), "aegisbpf {} has no example", command.join(" "));
        assert!(help.starts_with(|first: char| first.is_uppercase()), "{help}");
        // The usage line lists every argument that must be given.
        let longest = help
            .lines()
            .filter(|line| !line.starts_with("Usage:"))
            .map(|line| line.chars().count())
            .max()
            .unwrap();
        assert!(longest <= 120, "aegisbpf {} --help has a line of {longest} characters", command.join(" "));
    }
}

#[test]
fn every_example_is_a_command_line_that_the_program_takes() {
    let dir = fixtures();
    for command in commands(dir.path()) {
        for example in examples(&help(dir.path(), &command)) {
            let arguments: Vec<&str> =
                ["--root", "host"].into_iter().chain(example.iter().map(String::as_str)).collect();
            // What follows a log does not end by itself; its own test has it.
            let arguments: Vec<&str> = arguments.into_iter().filter(|word| *word != "--follow").collect();
            let output = run(dir.path(), &arguments);
            let stderr = String::from_utf8(output.stderr).unwrap();
            // 2 is wrong usage; but health says "failed" so, and this host has neither key nor policy.
            let usage = output.status.code() == Some(2) && example.first().unwrap() != "health";
            assert!(!usage && output.status.code().is_some(), "{}\n{stderr}", example.join(" "));
        }
    }
}

#[test]
fn an_option_that_lists_or_reports_offers_json() {
    let dir = fixtures();
    // What these print is a document of its own kind; the agent prints none, and tells systemd how it is.
    let plain =
        ["run", "completions", "man", "keys challenge", "audit export", "audit checkpoint", "audit prove"];
    for command in commands(dir.path()) {
        let help = help(dir.path(), &command);
        let name = command.join(" ");
        if !help.contains("Commands:\n") && !plain.contains(&name.as_str()) {
            assert!(help.contains("--json"), "{name} has no --json");
        }
    }
}

#[test]
fn a_secret_is_never_an_argument() {
    let dir = fixtures();
    for command in commands(dir.path()) {
        let help = help(dir.path(), &command);
        for option in ["--pin ", "--password", "--passphrase", "--private-key-hex", "--seed"] {
            assert!(!help.contains(option), "aegisbpf {} has {option}", command.join(" "));
        }
    }
}
