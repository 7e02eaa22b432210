//! `acs-token-broker dev`, run as a process.

use std::env;
use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use azure_emulator::Scenario;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// It takes under a second; the rest is for machines that are busy.
const START: Duration = Duration::from_secs(60);
/// The last line that it says when it is up.
const UP: &str = "Stop with Ctrl-C.";

/// A running process; dropping it stops it.
pub(crate) struct Dev {
    process: Child,
    /// The broker's origin.
    pub(crate) broker: String,
    /// The emulator's origin.
    pub(crate) emulator: String,
    /// The CA that signed the certificates of both, with `--tls`.
    pub(crate) ca_file: Option<String>,
}

impl Dev {
    /// Starts it on free ports, with more arguments and environment, and waits until it is up.
    pub(crate) fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_acs-token-broker"));
        command.arg("dev").args(arguments);
        for option in ["--listen", "--management-listen", "--emulator-listen"] {
            command.args([option, "127.0.0.1:0"]);
        }
        // What a developer has set for a broker of their own is not meant for this one.
        for (name, _) in env::vars_os() {
            if name.to_string_lossy().starts_with("ACS_TOKEN_BROKER") || name.to_string_lossy().starts_with("OTEL_") {
                command.env_remove(name);
            }
        }
        command.envs(environment.iter().copied());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut process = command.spawn().expect("the broker's binary starts");
        let (lines, received) = mpsc::channel();
        let outputs: [Box<dyn Read + Send>; 2] = [
            Box::new(process.stdout.take().expect("piped")),
            Box::new(process.stderr.take().expect("piped")),
        ];
        for output in outputs {
            let lines = lines.clone();
            // Reads on after the start, or the process would wait for its log to be taken.
            thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    let _ = lines.send(line);
                }
            });
        }
        drop(lines);
        let mut said = Vec::new();
        while said.last().is_none_or(|line| line != UP) {
            match received.recv_timeout(START) {
                Ok(line) => said.push(line),
                Err(reason) => {
                    stop(&mut process);
                    let why = match reason {
                        RecvTimeoutError::Timeout => "is not up in time",
                        RecvTimeoutError::Disconnected => "ended",
                    };
                    panic!("`acs-token-broker dev` {why}; it said:\n{}", said.join("\n"));
                }
            }
        }
        let named = |name: &str| {
            said.iter()
                .find_map(|line| line.strip_prefix(name)?.trim().split("   ").next())
                .map(str::to_owned)
        };
        Self {
            process,
            broker: named("broker ").expect("it tells the broker's address"),
            emulator: named("emulator ").expect("it tells the emulator's address"),
            ca_file: named("CA file "),
        }
    }

    /// The connection string of the emulated resource.
    pub(crate) fn connection_string(&self) -> String {
        let key = STANDARD.encode(Scenario::demo().resource.access_key);
        format!("endpoint={}/;accesskey={key}", self.emulator)
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        stop(&mut self.process);
    }
}

/// Asks it to end, as it then takes its temporary folder away.
fn stop(process: &mut Child) {
    let asked = Command::new("kill").arg(process.id().to_string()).status();
    if !asked.is_ok_and(|status| status.success()) {
        let _ = process.kill();
    }
    let _ = process.wait();
}
