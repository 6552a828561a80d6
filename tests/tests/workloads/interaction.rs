//! Talking to running pods: logs, exec, attach, port-forward, watches.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use knarr_tests::command::{output, shown};
use knarr_tests::lab::Lab;
use knarr_tests::space::Space;
use knarr_tests::web::fetch;

/// A program that is killed when dropped.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Result<(Self, BufReader<ChildStdout>)> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().context("no standard output")?;
        Ok((Self(child), BufReader::new(stdout)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const TALKER: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: talker, labels: {app: talker}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: out, image: "busybox:1", command: [sh, -c, "echo one; echo two; echo three; exec sleep 1000"]}
  - {name: other, image: "busybox:1", command: [sh, -c, "echo from the other >&2; exec sleep 1000"]}
"#;

pub(crate) fn logs(lab: &Lab) -> Result<()> {
    let space = Space::new(lab, "logs")?;
    space.apply(TALKER)?;
    space.wait("condition=Ready", &["pod/talker"])?;
    for (arguments, expected) in [
        (&["talker", "-c", "out"][..], "one\ntwo\nthree\n"),
        (&["talker", "-c", "out", "--tail=1"], "three\n"),
        (&["talker", "-c", "out", "--limit-bytes=3"], "one"),
        (&["talker"], "one\ntwo\nthree\n"),
        (&["-l", "app=talker", "-c", "other"], "from the other\n"),
        (&["talker", "-c", "other", "--prefix"], "[pod/talker/other] from the other\n"),
    ] {
        let told = space.kubectl(&[&["logs"], arguments].concat())?;
        ensure!(told == expected, "logs {arguments:?}: {told:?}");
    }
    let told = space.kubectl(&["logs", "talker", "-c", "other", "--timestamps"])?;
    ensure!(told.get(4..5) == Some("-") && told.ends_with("Z from the other\n"), "{told}");
    ensure!(space.kubectl(&["logs", "talker", "-c", "other", "--since=10m"])? == "from the other\n");
    let refused = space.refused(&["logs", "talker", "-c", "absent"])?;
    ensure!(refused.contains("container absent is not valid for pod talker"), "{refused}");
    let refused = space.refused(&["logs", "talker", "-c", "out", "--previous"])?;
    ensure!(refused.contains(r#"previous terminated container "out" in pod "talker" not found"#), "{refused}");
    Ok(())
}

pub(crate) fn logs_follow(lab: &Lab) -> Result<()> {
    let space = Space::new(lab, "follow")?;
    space.apply(
        r#"
apiVersion: v1
kind: Pod
metadata: {name: slow}
spec:
  restartPolicy: Never
  containers:
  - {name: c, image: "busybox:1", command: [sh, -c, "echo first; until [ -e /tmp/go ]; do sleep 0.1; done; echo last"]}
"#,
    )?;
    space.wait("condition=Ready", &["pod/slow"])?;
    let (_running, mut lines) = Running::start(&mut space.command(&["logs", "--follow", "slow"]))?;
    let mut line = String::new();
    lines.read_line(&mut line)?;
    ensure!(line == "first\n", "{line:?}");
    space.exec("slow", &["touch", "/tmp/go"])?;
    let mut rest = String::new();
    lines.read_to_string(&mut rest)?;
    ensure!(rest == "last\n", "it ends with the container: {rest:?}");
    Ok(())
}

pub(crate) fn exec(lab: &Lab) -> Result<()> {
    let space = Space::new(lab, "exec")?;
    space.apply(TALKER)?;
    space.wait("condition=Ready", &["pod/talker"])?;
    ensure!(space.exec("talker", &["echo", "hello"])? == "hello\n");
    ensure!(space.kubectl(&["exec", "talker", "-c", "other", "--", "hostname"])? == "talker\n");

    let status = |arguments: &[&str]| {
        let told = space.feed(&[&["exec", "talker", "--"], arguments].concat(), "")?;
        Ok::<_, anyhow::Error>((told.status.code(), String::from_utf8_lossy(&told.stderr).into_owned()))
    };
    let (code, told) = status(&["sh", "-c", "echo problem >&2; exit 7"])?;
    ensure!(code == Some(7) && told.contains("problem\n") && told.contains("exit code 7"), "{code:?} {told}");
    let (code, told) = status(&["absent"])?;
    ensure!(code.is_some_and(|code| code != 0) && told.contains("executable file not found"), "{code:?} {told}");

    let long = "a line of input\n".repeat(20_000);
    let echoed = space.feed(&["exec", "-i", "talker", "--", "cat"], &long)?;
    ensure!(echoed.stdout == long.as_bytes(), "{} of {} bytes came back", echoed.stdout.len(), long.len());
    let lines = space.feed(&["exec", "-i", "talker", "--", "wc", "-l"], &long)?;
    ensure!(lines.stdout == b"20000\n", "the end of the input arrives: {lines:?}");

    // script(1) gives kubectl a terminal.
    let inner = shown(&space.command(&["exec", "-it", "talker", "--", "sh", "-c"]));
    // kubectl sends the terminal's size right after the start; before that there is none, and busybox calls it no failure.
    let look = "for i in $(seq 100); do stty size 2>/dev/null | grep . && break; sleep 0.1; done; tty; exit 3";
    let inner = format!("{inner} '{look}'");
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", &format!("stty rows 33 cols 111; {inner}"), "/dev/null"]);
    let told = command.stdin(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&told.stdout);
    ensure!(told.status.code() == Some(3), "{told:?}");
    ensure!(text.contains("33 111") && text.contains("/dev/pts/"), "{text}");

    let refused = space.refused(&["exec", "absent", "--", "true"])?;
    ensure!(refused.contains(r#"pods "absent" not found"#), "{refused}");
    let refused = space.refused(&["exec", "talker", "-c", "absent", "--", "true"])?;
    ensure!(refused.contains("container absent is not valid") || refused.contains("container not found"), "{refused}");
    ensure!(space.kubectl(&["cp", "talker:/etc/passwd", "/dev/stdout", "-c", "out"]).is_ok());
    Ok(())
}

pub(crate) fn port_forward(lab: &Lab) -> Result<()> {
    let space = Space::new(lab, "forward")?;
    space.kubectl(&["create", "deployment", "web", "--image=knarr.io/examples/web:1", "--port=80"])?;
    space.kubectl(&["expose", "deployment/web", "--port=8080", "--target-port=80"])?;
    space.rolled_out("deployment/web")?;
    let pod = space.pods("app=web")?.pop().context("no pod")?;
    for (target, port) in
        [(format!("pod/{pod}"), "80"), ("service/web".into(), "8080"), ("deployment/web".into(), "80")]
    {
        let (_running, mut lines) =
            Running::start(&mut space.command(&["port-forward", &target, &format!(":{port}")]))?;
        let mut line = String::new();
        lines.read_line(&mut line)?;
        let address = line.strip_prefix("Forwarding from ").and_then(|rest| rest.split(' ').next());
        let address = address.with_context(|| format!("{target}: {line:?}"))?.parse()?;
        for _ in 0..3 {
            let body = fetch(address, "/", Duration::from_secs(10)).with_context(|| target.clone())?;
            ensure!(body == "knarr\n", "{body:?}");
        }
    }
    Ok(())
}

pub(crate) fn watch_and_describe(lab: &Lab) -> Result<()> {
    let space = Space::new(lab, "watching")?;
    let (_running, mut lines) =
        Running::start(&mut space.command(&["get", "pods", "--watch", "--output-watch-events"]))?;
    space.apply(TALKER)?;
    space.wait("condition=Ready", &["pod/talker"])?;
    let described = space.kubectl(&["describe", "pod", "talker"])?;
    for part in [
        "Status:           Running",
        "IP:               10.42.",
        "Image:         busybox:1",
        "QoS Class:                   BestEffort",
        "Ready             True",
        "Scheduled",
        "Successfully assigned watching/talker to ",
        "Pulled",
        "Created",
        "Started",
    ] {
        ensure!(described.contains(part), "{part:?} is not in {described}");
    }
    let node = lab.kubectl_output(&["describe", "nodes"])?;
    for part in ["Ready            True", "KubeletReady", "talker", "containerd://", "Allocated resources"] {
        ensure!(node.contains(part), "{part:?} is not in {node}");
    }
    space.kubectl(&["delete", "pod", "talker"])?;
    let mut seen = Vec::new();
    for line in lines.by_ref().lines() {
        let line = line?;
        let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        let [event, _, _, status, ..] = words.as_slice() else { continue };
        let (event, status) = (event.clone(), status.clone());
        let end = event == "DELETED";
        seen.push((event, status));
        if end {
            break;
        }
    }
    for (event, status) in
        [("ADDED", "Pending"), ("MODIFIED", "ContainerCreating"), ("MODIFIED", "Running"), ("MODIFIED", "Terminating")]
    {
        let pair = (event.to_owned(), status.to_owned());
        ensure!(seen.contains(&pair), "{pair:?} is not in {seen:?}");
    }
    Ok(())
}

pub(crate) fn attach_and_run(lab: &Lab) -> Result<()> {
    let space = Space::new(lab, "attach")?;
    let told = space.feed(
        &["run", "once", "--image=busybox:1", "--restart=Never", "--rm", "-i", "--quiet", "--", "cat"],
        "through the pod\n",
    )?;
    let text = String::from_utf8_lossy(&told.stdout);
    ensure!(told.status.success() && text.contains("through the pod"), "{told:?}");
    let refused = space.refused(&["get", "pod", "once"])?;
    ensure!(refused.contains("not found"), "--rm removes it: {refused}");

    space.kubectl(&[
        "run",
        "plain",
        "--image=busybox:1",
        "--restart=Never",
        "--command",
        "--",
        "sh",
        "-c",
        "exit 4",
    ])?;
    space.until_is("pod/plain", ".status.phase", "Failed")?;
    ensure!(space.field("pod/plain", ".status.containerStatuses[0].state.terminated.exitCode")? == "4");
    output(&mut space.command(&["get", "pod", "plain", "-o", "yaml"])).map(drop)
}
