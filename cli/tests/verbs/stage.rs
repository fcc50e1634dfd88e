//! The processes that the tests of the binary need: a coordinator of one's own, workers, verbs.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;

/// A child that dies with the test.
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Process {
    /// Asks it to stop in good order, and answers its exit code.
    pub(crate) fn stop(mut self) -> i32 {
        let pid = self.0.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
        self.0.wait().unwrap().code().unwrap()
    }
}

/// A coordinator, and the way to it.
pub(crate) struct Stage {
    pub(crate) coordinator: Process,
    pub(crate) address: String,
}

pub(crate) fn redrive() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_redrive"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("REDRIVE_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null()).env_remove("RUST_LOG");
    command
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self::logging("warn", Stdio::null())
    }

    /// One whose coordinator logs there what is of this level.
    pub(crate) fn logging(level: &str, log: Stdio) -> Self {
        let mut child = redrive()
            .args(["dev", "--port", "0", "-o", "json", "--log", level])
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let addresses: Value = serde_json::from_str(&line).unwrap();
        let address = addresses["grpcAddress"].as_str().unwrap().to_owned();
        Self {
            coordinator: Process(child),
            address,
        }
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = redrive();
        command
            .args(words)
            .env("REDRIVE_ADDRESS", &self.address)
            .env("USER", "ada");
        command
    }

    pub(crate) fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// Runs a verb that must go well, and answers its stdout without the line end.
    pub(crate) fn ok(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout)
            .unwrap()
            .trim_end()
            .to_owned()
    }

    pub(crate) fn json(&self, words: &[&str]) -> Value {
        serde_json::from_str(&self.ok(&[words, &["-o", "json"]].concat())).unwrap()
    }

    pub(crate) fn code(&self, words: &[&str]) -> i32 {
        self.run(words).status.code().unwrap()
    }

    /// A worker whose every task is this shell line.
    pub(crate) fn worker(&self, name: &str, shell: &str) -> Process {
        let words = [
            "worker",
            "exec",
            "-q",
            "mail",
            "--worker-id",
            name,
            "--",
            "sh",
            "-c",
            shell,
        ];
        let child = self.command(&words).stderr(Stdio::null()).spawn().unwrap();
        Process(child)
    }

    /// A task that has ended as a dead letter.
    pub(crate) fn dead_task(&self) -> String {
        let id = self.ok(&[
            "task",
            "enqueue",
            "send",
            "-q",
            "mail",
            "--max-attempts",
            "1",
        ]);
        assert_eq!(self.code(&["task", "wait", &id]), 10);
        id
    }
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
