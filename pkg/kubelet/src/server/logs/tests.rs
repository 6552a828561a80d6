use std::io::Write as _;

use tokio::sync::oneshot;

use super::*;

struct Log {
    directory: tempfile::TempDir,
    path: PathBuf,
}

impl Log {
    fn new(content: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("0.log");
        std::fs::write(&path, content).unwrap();
        Self { directory, path }
    }

    fn writer(&self) -> std::fs::File {
        std::fs::File::options().append(true).open(&self.path).unwrap()
    }

    async fn reader(&self, left: Option<usize>) -> (Reader, mpsc::Receiver<Bytes>) {
        let (path, file) = (self.path.clone(), File::open(&self.path).await.unwrap());
        let (blocks, body) = mpsc::channel(WAITING);
        let (pending, selection) = (Vec::new(), Selection::default());
        (Reader { path, file, pending, continued: false, selection, left, blocks }, body)
    }
}

async fn rest(body: &mut mpsc::Receiver<Bytes>) -> String {
    let mut got = Vec::new();
    while let Some(block) = body.recv().await {
        got.extend_from_slice(&block);
    }
    String::from_utf8(got).unwrap()
}

async fn read(content: &str, tail: Option<u64>, limit: Option<usize>) -> String {
    let log = Log::new(content);
    let (reader, mut body) = log.reader(limit).await;
    let reading = tokio::spawn(reader.run(tail, None::<std::future::Ready<()>>));
    let got = rest(&mut body).await;
    reading.await.unwrap().unwrap();
    got
}

fn line(text: &str) -> String {
    format!("2026-11-23T10:00:00Z stdout F {text}\n")
}

fn log(lines: usize) -> String {
    (0..lines).map(|number| line(&format!("line {number}"))).collect()
}

#[tokio::test]
async fn all_some_or_the_last_lines() {
    assert_eq!(read(&log(2), None, None).await, "line 0\nline 1\n");
    assert_eq!(read(&log(3), Some(2), None).await, "line 1\nline 2\n");
    assert_eq!(read(&log(3), Some(0), None).await, "");
    assert_eq!(read(&log(3), Some(9), None).await, "line 0\nline 1\nline 2\n");
    assert_eq!(read(&log(3), None, Some(8)).await, "line 0\nl");
    assert_eq!(read("", Some(5), None).await, "");
    // A line that is being written is not shown before its end.
    assert_eq!(read(&format!("{}2026-11-23T10:00:00Z stdout F hal", log(1)), None, None).await, "line 0\n");
}

#[tokio::test]
async fn the_last_lines_of_a_long_file() {
    let read = read(&log(5000), Some(3000), None).await;
    assert_eq!(read.lines().count(), 3000);
    assert!(read.starts_with("line 2000\n") && read.ends_with("line 4999\n"));
}

#[tokio::test]
async fn following_ends_with_the_container_and_after_its_last_line() {
    let log = Log::new(&line("first"));
    let (reader, mut body) = log.reader(None).await;
    let (end, ended) = oneshot::channel::<()>();
    let reading = tokio::spawn(reader.run(None, Some(async move { ended.await.unwrap() })));
    assert_eq!(body.recv().await.unwrap(), "first\n");
    let mut writer = log.writer();
    writer.write_all(line("second").as_bytes()).unwrap();
    assert_eq!(body.recv().await.unwrap(), "second\n");
    // A restarted runtime closes and opens the log: this is not the end.
    drop(writer);
    let mut writer = log.writer();
    end.send(()).unwrap();
    writer.write_all(line("last").as_bytes()).unwrap();
    drop(writer);
    assert_eq!(rest(&mut body).await, "last\n");
    reading.await.unwrap().unwrap();
}

#[tokio::test]
async fn following_goes_on_in_the_file_that_replaces_a_rotated_one() {
    let log = Log::new(&line("first"));
    let (reader, mut body) = log.reader(None).await;
    let (end, ended) = oneshot::channel::<()>();
    let reading = tokio::spawn(reader.run(None, Some(async move { ended.await.unwrap() })));
    assert_eq!(body.recv().await.unwrap(), "first\n");
    let mut former = log.writer();
    std::fs::rename(&log.path, log.directory.path().join("0.log.20261123")).unwrap();
    former.write_all(line("still in the former").as_bytes()).unwrap();
    std::fs::write(&log.path, line("in the new")).unwrap();
    assert_eq!(body.recv().await.unwrap(), "still in the former\n");
    assert_eq!(body.recv().await.unwrap(), "in the new\n");
    end.send(()).unwrap();
    assert_eq!(rest(&mut body).await, "", "nothing is told twice");
    reading.await.unwrap().unwrap();
}

#[test]
fn the_previous_one_of_a_crash_loop_is_the_newest() {
    let (running, exited) = (api::ContainerState::ContainerRunning, api::ContainerState::ContainerExited);
    for (state, attempt, exit_code, count, expected) in [
        (running, 1, 0, 2, false),
        (exited, 1, 1, 2, true),
        // The former ones have been removed.
        (exited, 7, 1, 1, true),
        (exited, 7, 0, 1, true),
        // It has succeeded in the end.
        (exited, 1, 0, 2, false),
        // It is never started again.
        (exited, 0, 1, 1, false),
    ] {
        let metadata = Some(api::ContainerMetadata { name: "c".into(), attempt });
        let newest = api::ContainerStatus { metadata, state: state.into(), exit_code, ..Default::default() };
        assert_eq!(is_previous(&newest, count), expected, "{newest:?} of {count}");
    }
}
