//! A namespace of one test, and what tests do in it.

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::command::{output, shown};
use crate::lab::Lab;
use crate::wait::until;

/// How long a pod may take to do what it was told, on a busy machine.
pub const POD: Duration = Duration::from_secs(90);

/// A namespace; one that was made here goes when it is dropped.
pub struct Space<'a> {
    lab: &'a Lab,
    name: String,
    made: bool,
}

impl<'a> Space<'a> {
    /// Makes the namespace.
    ///
    /// # Errors
    /// When it exists already.
    pub fn new(lab: &'a Lab, name: &str) -> Result<Self> {
        lab.kubectl_output(&["create", "namespace", name])?;
        Ok(Self { lab, name: name.to_owned(), made: true })
    }

    /// A namespace that is there, and stays.
    #[must_use]
    pub fn existing(lab: &'a Lab, name: &str) -> Self {
        Self { lab, name: name.to_owned(), made: false }
    }

    /// Leaves the namespace alone from now on, because the test deleted it or others use it.
    pub fn keep(mut self) {
        self.made = false;
    }

    /// The namespace's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The lab that it is in.
    #[must_use]
    pub fn lab(&self) -> &'a Lab {
        self.lab
    }

    /// A kubectl command in this namespace.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.lab.kubectl();
        command.args(["--namespace", &self.name]).args(arguments);
        command
    }

    /// Runs kubectl to its end; what it printed.
    ///
    /// # Errors
    /// When it fails; with what it printed.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        output(&mut self.command(arguments))
    }

    /// Runs kubectl, which must fail; what it printed on standard error.
    ///
    /// # Errors
    /// When it succeeds.
    pub fn refused(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.command(arguments);
        let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output()?;
        ensure!(!status.success(), "`{}` succeeded: {}", shown(&command), String::from_utf8_lossy(&stdout));
        Ok(String::from_utf8_lossy(&stderr).into_owned())
    }

    /// Runs kubectl with something on its standard input; how it ended and what it printed.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn feed(&self, arguments: &[&str], input: &str) -> Result<Output> {
        feed(&mut self.command(arguments), input)
    }

    /// `kubectl apply` of these documents; what it printed.
    ///
    /// # Errors
    /// When it fails; with what it printed.
    pub fn apply(&self, documents: &str) -> Result<String> {
        // kubectl takes what begins with a brace for JSON.
        let documents = format!("---\n{documents}");
        let Output { status, stdout, stderr } = feed(&mut self.command(&["apply", "--filename=-"]), &documents)?;
        if !status.success() {
            bail!("kubectl apply: {}\n{documents}", String::from_utf8_lossy(&stderr).trim());
        }
        Ok(String::from_utf8_lossy(&stdout).into_owned())
    }

    /// An object, or a list of a kind, as JSON.
    ///
    /// # Errors
    /// When it is not there.
    pub fn get(&self, what: &[&str]) -> Result<Value> {
        let text = self.kubectl(&[&["get", "--output=json"], what].concat())?;
        serde_json::from_str(&text).context(text)
    }

    /// One field of an object by JSONPath; empty when it is not set.
    ///
    /// # Errors
    /// When the object is not there.
    pub fn field(&self, object: &str, path: &str) -> Result<String> {
        self.kubectl(&["get", object, &format!("--output=jsonpath={{{path}}}")])
    }

    /// Waits until a field has a value of which `wanted` says so; that value.
    ///
    /// # Errors
    /// When it has not in time, with the value it had.
    pub fn until_field(&self, object: &str, path: &str, wanted: impl Fn(&str) -> bool) -> Result<String> {
        until(&format!("{object} {path}"), POD, || match self.field(object, path) {
            Ok(value) if wanted(&value) => Ok(value),
            Ok(value) => Err(format!("{value:?}")),
            Err(error) => Err(format!("{error:#}")),
        })
        .with_context(|| self.state())
    }

    /// Waits until a field has that value.
    ///
    /// # Errors
    /// As [`Space::until_field`].
    pub fn until_is(&self, object: &str, path: &str, value: &str) -> Result<()> {
        self.until_field(object, path, |seen| seen == value).map(drop)
    }

    /// `kubectl wait` for a condition.
    ///
    /// # Errors
    /// When it does not come true in time; with the pods and events of the namespace.
    pub fn wait(&self, condition: &str, what: &[&str]) -> Result<()> {
        let limit = format!("--timeout={}s", POD.as_secs());
        let condition = format!("--for={condition}");
        let arguments = [&["wait", &condition, &limit], what].concat();
        self.kubectl(&arguments).map(drop).with_context(|| self.state())
    }

    /// Waits until a Deployment is rolled out.
    ///
    /// # Errors
    /// When it is not in time; with the pods and events of the namespace.
    pub fn rolled_out(&self, deployment: &str) -> Result<String> {
        let limit = format!("--timeout={}s", POD.as_secs());
        self.kubectl(&["rollout", "status", deployment, &limit]).with_context(|| self.state())
    }

    /// Runs a command in a pod; what it printed.
    ///
    /// # Errors
    /// When it fails; with what it printed.
    pub fn exec(&self, pod: &str, command: &[&str]) -> Result<String> {
        self.kubectl(&[&["exec", pod, "--"], command].concat())
    }

    /// The names of the pods with these labels.
    ///
    /// # Errors
    /// When kubectl fails.
    pub fn pods(&self, labels: &str) -> Result<Vec<String>> {
        let names = self.kubectl(&["get", "pods", "-l", labels, "-o", "jsonpath={.items[*].metadata.name}"])?;
        Ok(names.split_whitespace().map(str::to_owned).collect())
    }

    /// What is in the namespace, for error messages.
    #[must_use]
    pub fn state(&self) -> String {
        ["pods", "events"].map(|kind| self.kubectl(&["get", kind, "-o", "wide"]).unwrap_or_default()).join("\n")
    }
}

/// Runs a command with something on its standard input.
///
/// # Errors
/// When it cannot be run.
pub fn feed(command: &mut Command, input: &str) -> Result<Output> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    let input = input.to_owned();
    // Written beside the reading: a program that answers while it reads would wait for us, and we for it.
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output()?;
    // A program that refuses its arguments reads nothing.
    if let Ok(Err(error)) = writer.join()
        && output.status.success()
    {
        return Err(error).context("the input was not read");
    }
    Ok(output)
}

impl Drop for Space<'_> {
    fn drop(&mut self) {
        if !self.made {
            return;
        }
        // The lab goes anyway; this only makes room for the other tests.
        let gone = self.lab.kubectl_output(&["delete", "namespace", &self.name, "--wait=false"]);
        if let Err(error) = gone
            && !std::thread::panicking()
        {
            eprintln!("namespace {}: {error:#}", self.name);
        }
    }
}
