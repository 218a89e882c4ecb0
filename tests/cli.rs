//! The built binary as an operator meets it: exit codes, where output goes, what errors say.

use std::path::Path;
use std::process::{Command, Output};

fn holdfast(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_holdfast"))
        .args(args)
        .env_clear()
        .output()
        .expect("the binary runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn file(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, text).expect("the folder is writable");
    path.display().to_string()
}

/// A folder of its own below the target folder.
fn dir(name: &str) -> std::path::PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("the target folder is writable");
    dir
}

#[test]
fn a_wrong_word_on_the_command_line_is_exit_2() {
    assert_eq!(holdfast(&["stauts"]).status.code(), Some(2));
    assert_eq!(
        holdfast(&["queue", "set", "q", "weight", "--server", "unix:/x"])
            .status
            .code(),
        Some(2)
    );
    assert_eq!(
        holdfast(&["status", "--server", "ftp://x"]).status.code(),
        Some(2)
    );
    assert_eq!(holdfast(&["--help"]).status.code(), Some(0));
}

#[test]
fn a_wrong_file_is_exit_78_with_line_and_caret() {
    let dir = dir("validate");
    let queues = file(&dir, "queues.toml", "[queue.support]\nring_tim = \"15s\"\n");
    let output = holdfast(&["validate", &queues]);
    assert_eq!(output.status.code(), Some(78), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(
        text.contains("2 | ring_tim = \"15s\"\n  | ^^^^^^^^"),
        "{text}"
    );
    assert!(text.contains("did you mean `ring_time`?"), "{text}");
    let node = file(
        &dir,
        "holdfast.toml",
        "[node]\nname = \"a\"\n[http]\nlitsen = \"x\"\n",
    );
    let output = holdfast(&["validate", "--offline", &node]);
    assert_eq!(output.status.code(), Some(78));
    assert!(
        stdout(&output).contains("4 | litsen = \"x\"\n  | ^"),
        "{}",
        stdout(&output)
    );
    let output = holdfast(&["serve", "-c", &node]);
    assert_eq!(output.status.code(), Some(78));
    assert!(stderr(&output).starts_with("error: ") && stderr(&output).contains("try: "));
}

#[test]
fn the_samples_are_valid() {
    let samples = ["config/queues.toml", "config/holdfast.toml"];
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for sample in samples {
        let path = root.join(sample).display().to_string();
        let output = holdfast(&["validate", "--offline", &path]);
        assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
    }
}

#[test]
fn a_node_that_does_not_answer_is_exit_6_with_what_to_try() {
    let output = holdfast(&["status", "--server", "unix:/nonexistent/holdfast.sock"]);
    assert_eq!(output.status.code(), Some(6));
    let text = stderr(&output);
    assert!(
        text.starts_with("error: unix:/nonexistent/holdfast.sock does not answer\n"),
        "{text}"
    );
    assert!(
        text.contains("\n  try: systemctl status holdfast"),
        "{text}"
    );
    assert!(stdout(&output).is_empty(), "stdout is for data");
}

#[test]
fn a_token_is_printed_once_and_its_line_holds_only_the_hash() {
    let output = holdfast(&[
        "token",
        "create",
        "anna",
        "--role",
        "supervisor",
        "-o",
        "json",
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    let token = text
        .split('"')
        .find(|word| word.starts_with("hf_"))
        .expect("a token");
    assert_eq!(text.matches(&token[3..]).count(), 1);
    assert!(text.contains("anna:sha256.supervisor."), "{text}");
    assert_eq!(
        holdfast(&["token", "create", "anna", "--role", "king"])
            .status
            .code(),
        Some(2)
    );
}

#[test]
fn a_recovery_without_a_folder_of_a_node_is_refused_with_what_to_name() {
    let dir = dir("recover");
    let data = dir.join("data").display().to_string();
    let output = holdfast(&["cluster", "recover", "--data-dir", &data]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("no node.json in it"),
        "{}",
        stderr(&output)
    );
    assert!(!dir.join("data").exists(), "looking creates nothing");
    let node = format!("[node]\nname = \"a\"\ndata_dir = {data:?}\n");
    let config = file(&dir, "holdfast.toml", &node);
    let output = holdfast(&["cluster", "recover", "--config", &config]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let output = holdfast(&["cluster", "recover", "--config", "/nonexistent"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("--data-dir"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_drill_takes_one_way_only_and_needs_every_node() {
    let drill = |more: &[&str]| {
        let words = [&["drill", "--nodes", "unix:/nonexistent/a.sock"], more].concat();
        holdfast(&words)
    };
    assert_eq!(holdfast(&["drill"]).status.code(), Some(2));
    let both = drill(&["--step-down", "--by-hand"]);
    assert_eq!(both.status.code(), Some(2), "{}", stderr(&both));
    let to = drill(&["--to", "b"]);
    assert_eq!(to.status.code(), Some(2), "{}", stderr(&to));
    let own = std::process::id().to_string();
    let stranger = drill(&["--kill-pid", &own]);
    assert_eq!(stranger.status.code(), Some(2), "{}", stderr(&stranger));
    assert!(
        stderr(&stranger).contains("is no `holdfast serve`"),
        "{}",
        stderr(&stranger)
    );
    let nobody = drill(&[]);
    assert_eq!(nobody.status.code(), Some(6), "{}", stderr(&nobody));
}
