//! The repository checks itself: which crate may use which, how long a file may be, that each file
//! says what it holds, that nothing unfinished is left, and that every error code has its section.
//!
//! It reads text and runs nothing, so it is quick; a rule that cannot be checked so is not here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What each crate may use of the others. The arrows point one way.
const EDGES: &[(&str, &str, &[&str])] = &[
    ("src/acd", "holdfast-acd", &[]),
    ("src/ari", "holdfast-ari", &[]),
    ("src/ports", "holdfast-ports", &[]),
    ("raft", "holdfast-raft", &["holdfast-ports"]),
    ("src/sim", "holdfast-sim", &["holdfast-ari"]),
    (
        "src/node",
        "holdfast-node",
        &["holdfast-acd", "holdfast-ari", "holdfast-raft"],
    ),
    (
        "src/admin",
        "holdfast-admin",
        &[
            "holdfast-acd",
            "holdfast-node",
            "holdfast-ports",
            "holdfast-raft",
        ],
    ),
    (
        "src/cli",
        "holdfast-cli",
        &[
            "holdfast-acd",
            "holdfast-admin",
            "holdfast-ari",
            "holdfast-node",
            "holdfast-raft",
            "holdfast-sim",
        ],
    ),
];

/// Libraries that stay behind one door each: (library, crates that may use it).
const DOORS: &[(&str, &[&str])] = &[
    ("openraft", &["raft"]),
    ("sled", &["raft"]),
    ("tokio-tungstenite", &["src/ari", "src/sim"]),
    ("axum", &["raft", "src/admin", "src/ports", "src/sim"]),
];

const FILE_LINES_MAX: usize = 600;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below the root with one of these endings, in order, build output left out.
fn files(endings: &[&str]) -> Vec<PathBuf> {
    fn walk(folder: &Path, endings: &[&str], found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("a folder of the repository can be read") {
            let path = entry.expect("an entry can be read").path();
            let name = path
                .file_name()
                .and_then(|n| n.to_str())
                .unwrap_or("")
                .to_string();
            if path.is_dir() {
                if !matches!(name.as_str(), "target" | ".git" | ".cache") {
                    walk(&path, endings, found);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(root(), endings, &mut found);
    found.sort();
    assert!(found.len() > 3, "the walk found too little to be true");
    found
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root())
        .unwrap_or(path)
        .display()
        .to_string()
}

fn dependencies(folder: &str) -> BTreeSet<String> {
    let path = root().join(folder).join("Cargo.toml");
    let text = fs::read_to_string(&path).expect("each crate has a Cargo.toml");
    let table: toml::Table = text.parse().expect("Cargo.toml is TOML");
    let deps = table.get("dependencies").and_then(|d| d.as_table());
    deps.map(|d| d.keys().cloned().collect())
        .unwrap_or_default()
}

#[test]
fn crates_use_only_the_crates_they_may() {
    for (folder, name, allowed) in EDGES {
        for used in dependencies(folder) {
            if used.starts_with("holdfast-") {
                assert!(
                    allowed.contains(&used.as_str()),
                    "{name} must not use {used}"
                );
            }
        }
    }
    assert_eq!(
        dependencies("src/acd"),
        BTreeSet::from(["serde".to_string()]),
        "the core depends on serde alone"
    );
}

#[test]
fn libraries_stay_behind_their_doors() {
    for (folder, name, _) in EDGES {
        let used = dependencies(folder);
        for (library, doors) in DOORS {
            if used.contains(*library) {
                assert!(
                    doors.contains(folder),
                    "{name} must not use {library} itself"
                );
            }
        }
    }
}

#[test]
fn files_are_short_and_say_what_they_hold() {
    let mut wrong = Vec::new();
    for path in files(&[".rs"]) {
        let text = fs::read_to_string(&path).expect("a source file is UTF-8");
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            wrong.push(format!(
                "{}: {lines} lines, at most {FILE_LINES_MAX}",
                shown(&path)
            ));
        }
        if !text.starts_with("//!") {
            wrong.push(format!(
                "{}: opens without saying what it holds (//!)",
                shown(&path)
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_unfinished_is_left() {
    // Composed, so that this file does not find itself.
    let marks = [
        ["todo", "!("].concat(),
        ["unimplemented", "!("].concat(),
        ["#[ig", "nore"].concat(),
        ["FIX", "ME"].concat(),
        ["dbg", "!("].concat(),
    ];
    let mut wrong = Vec::new();
    for path in files(&[".rs", ".sh"]) {
        let text = fs::read_to_string(&path).expect("a source file is UTF-8");
        for (number, line) in text.lines().enumerate() {
            if let Some(mark) = marks.iter().find(|mark| line.contains(mark.as_str())) {
                wrong.push(format!("{}:{}: {mark}", shown(&path), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `HF-` codes as they stand in a text, with the file that holds them.
fn codes(paths: &[PathBuf]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for path in paths {
        let text = fs::read_to_string(path).expect("a text file is UTF-8");
        for (at, _) in text.match_indices("HF-") {
            let code: String = text[at..].chars().take(6).collect();
            let tail = code.as_bytes();
            if code.len() == 6
                && tail[3].is_ascii_uppercase()
                && tail[4].is_ascii_digit()
                && tail[5].is_ascii_digit()
            {
                found.insert(code, shown(path));
            }
        }
    }
    found
}

#[test]
fn every_error_code_has_its_section_and_no_section_is_left_over() {
    let sources: Vec<PathBuf> = files(&[".rs"])
        .into_iter()
        .filter(|path| !path.ends_with("tests/tidy.rs"))
        .collect();
    let used = codes(&sources);
    let told = codes(&[root().join("docs/errors.md")]);
    for (code, place) in &used {
        assert!(
            told.contains_key(code),
            "{code} of {place} has no section in docs/errors.md"
        );
    }
    for code in told.keys() {
        assert!(
            used.contains_key(code),
            "docs/errors.md tells of {code}, which no code uses"
        );
    }
    assert!(used.len() > 10, "too few codes found to be true");
}

/// Words between backticks.
fn quoted(line: &str) -> Vec<&str> {
    line.split('`').skip(1).step_by(2).collect()
}

#[test]
fn every_promise_names_tests_that_exist() {
    let spec = fs::read_to_string(root().join("docs/SPECIFICATION.md"));
    let spec = spec.expect("docs/SPECIFICATION.md can be read");
    let mut words = BTreeSet::new();
    for path in files(&[".rs"]) {
        let text = fs::read_to_string(&path).expect("a source file is UTF-8");
        let names = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        words.extend(names.filter(|name| name.len() > 3).map(str::to_owned));
    }
    let (mut promises, mut tests) = (0, 0);
    let sections = spec.split("\n### ").skip(1);
    for section in sections {
        promises += 1;
        let title = section.lines().next().unwrap_or_default();
        let number = title.split_once(". ").map(|(number, _)| number);
        assert_eq!(
            number,
            Some(promises.to_string().as_str()),
            "promises are numbered without a gap: {title}"
        );
        let named = section
            .lines()
            .find_map(|line| line.strip_prefix("Tests: "));
        let named = quoted(named.unwrap_or_default());
        assert!(!named.is_empty(), "promise {title} names no test");
        for test in named {
            assert!(
                words.contains(test),
                "promise {title}: there is no test {test}"
            );
            tests += 1;
        }
    }
    assert!(
        promises > 10 && tests > promises,
        "too little found to be true"
    );
}
