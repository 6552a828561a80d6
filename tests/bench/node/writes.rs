//! Writes through HTTPS, and their way to watchers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use knarr_tests::api::Api;
use knarr_tests::lab::Lab;
use knarr_tests::space::Space;
use serde_json::json;

use knarr_tests::figures::{print, quantile};

const JSON: (&str, &str) = ("Content-Type", "application/json");
const CREATES: usize = 3000;
const WRITES: usize = 200;

fn map(name: &str) -> Vec<u8> {
    let object = json!({"metadata": {"name": name}, "data": {"text": "x".repeat(200)}});
    object.to_string().into_bytes()
}

/// Creates of single objects by 1 and by 32 connections.
pub(crate) fn creates(lab: &Lab) -> Result<()> {
    let api = Api::admin(lab)?;
    for connections in [1, 32] {
        let space = Space::new(lab, &format!("creates-{connections}"))?;
        let path = format!("/api/v1/namespaces/{}/configmaps", space.name());
        let next = AtomicUsize::new(0);
        let one = || -> Result<Vec<f64>> {
            let mut connection = api.connect()?;
            let mut took = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= CREATES {
                    return Ok(took);
                }
                let start = Instant::now();
                let answer = connection.request("POST", &path, &[JSON], &map(&format!("c{number}")))?;
                took.push(start.elapsed().as_secs_f64());
                ensure!(answer.status == 201, "{answer}");
            }
        };
        let start = Instant::now();
        let mut took = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..connections).map(|_| scope.spawn(one)).collect();
            let mut all = Vec::new();
            for thread in threads {
                all.extend(thread.join().map_err(|_| anyhow::anyhow!("panicked"))??);
            }
            Ok::<_, anyhow::Error>(all)
        })?;
        let elapsed = start.elapsed().as_secs_f64();
        #[allow(clippy::cast_precision_loss, reason = "a few thousand")]
        print(&format!("create_{connections}_connections_per_second"), took.len() as f64 / elapsed, None, None);
        print(
            &format!("create_{connections}_connections_p99_milliseconds"),
            quantile(&mut took, 0.99) * 1e3,
            None,
            None,
        );
    }
    Ok(())
}

/// From a write until the last of 100 watchers has seen it.
pub(crate) fn watchers(lab: &Lab) -> Result<()> {
    let api = Api::admin(lab)?;
    let space = Space::new(lab, "watchers")?;
    let path = format!("/api/v1/namespaces/{}/secrets", space.name());
    let list = api.get(&path)?;
    let revision =
        list.pointer("/metadata/resourceVersion").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
    let mut watches = (0..100)
        .map(|_| api.watch(&format!("{path}?watch=1&resourceVersion={revision}")))
        .collect::<Result<Vec<_>>>()?;
    let mut connection = api.connect()?;
    let mut took = Vec::new();
    for number in 0..WRITES {
        let body = json!({"metadata": {"name": format!("s{number}")}}).to_string();
        let start = Instant::now();
        let answer = connection.request("POST", &path, &[JSON], body.as_bytes())?;
        ensure!(answer.status == 201, "{answer}");
        for watch in &mut watches {
            watch.next(Duration::from_secs(10))?;
        }
        took.push(start.elapsed().as_secs_f64());
    }
    #[allow(clippy::cast_precision_loss, reason = "a few hundred")]
    print("watch_100_writes_per_second", took.len() as f64 / took.iter().sum::<f64>(), None, None);
    print("watch_100_last_p50_milliseconds", quantile(&mut took, 0.5) * 1e3, None, None);
    print("watch_100_last_p99_milliseconds", quantile(&mut took, 0.99) * 1e3, None, None);
    Ok(())
}
