//! The command uploads a large file in parts, is killed twice, goes on, and needs little memory.
//!
//! `TIDEGATE_UPLOAD_BYTES=6442450944` is the full size; the usual one keeps the suite short.
#![allow(clippy::disallowed_methods, reason = "it waits for a program")]

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use tidegate::stack::{BUCKET, Stack};

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// Most memory that the command may take, in KiB.
const MOST_MEMORY_KIB: u64 = 64 * 1024;

fn size_bytes() -> u64 {
    std::env::var("TIDEGATE_UPLOAD_BYTES").ok().and_then(|text| text.parse().ok()).unwrap_or(200_000_000)
}

/// A file that is almost all holes, with some bytes near its beginning, middle and end.
fn sparse_file(path: &Path) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    file.set_len(size_bytes())?;
    for offset in [10, size_bytes() / 2, size_bytes() - 10] {
        file.seek(SeekFrom::Start(offset))?;
        file.write_all(b"bytes")?;
    }
    Ok(())
}

fn publish(stack: &Stack, image: &Path) -> std::io::Result<Child> {
    Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["publish", "--product", "lamp", "--version", "2.0.0", "--activate", "--reason", "a test", "--json"])
        .arg(image)
        .args(["--api", &stack.door.url()])
        .env("TIDEGATE_OPERATOR_KEY", stack.operator_key.expose())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

/// Number of parts that S3 has of the upload.
async fn stored_parts(stack: &Stack) -> Result<usize, Box<dyn std::error::Error + Send + Sync>> {
    let s3 = stack.cloud.s3();
    let begun = s3.list_multipart_uploads().bucket(BUCKET).send().await?;
    let Some(upload) = begun.uploads().first() else { return Ok(0) };
    let (key, id) = (upload.key().unwrap_or_default(), upload.upload_id().unwrap_or_default());
    let parts = s3.list_parts().bucket(BUCKET).key(key).upload_id(id).send().await?;
    Ok(parts.parts().len())
}

/// The most memory that a process has had, in KiB, as Linux counts it.
fn most_memory_kib(child: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

/// Waits for a program, and for the most memory that it had.
async fn finished(mut child: Child) -> std::io::Result<(Output, u64)> {
    let mut memory = 0;
    while child.try_wait()?.is_none() {
        memory = memory.max(most_memory_kib(&child));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok((child.wait_with_output()?, memory))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_file_is_uploaded_in_parts_by_a_command_that_is_killed_twice() -> Outcome {
    let folder = tempfile::tempdir()?;
    let image = folder.path().join("rootfs.img");
    sparse_file(&image)?;
    let stack = Stack::temporary(0).await?;
    let mut before = 0;
    for _ in 0..2 {
        let mut child = publish(&stack, &image)?;
        // Another part has arrived.
        while stored_parts(&stack).await? <= before {
            assert!(child.try_wait()?.is_none(), "{:?}", child.wait_with_output());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        child.kill()?;
        let killed = child.wait()?;
        assert!(!killed.success());
        before = stored_parts(&stack).await?;
        assert!(before > 0);
    }
    let (output, memory) = finished(publish(&stack, &image)?).await?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("are stored; going on"), "{said}");
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!(answer["update"]["state"], "active", "{answer}");
    println!("{} bytes, {memory} KiB of memory", size_bytes());
    assert!(memory > 0 && memory < MOST_MEMORY_KIB, "{memory} KiB");
    // What is stored is what was announced: only then is an update active.
    assert_eq!(answer["update"]["files"][0]["size"], size_bytes());
    stack.shutdown().await;
    Ok(())
}
