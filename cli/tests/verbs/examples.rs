//! The examples of the pages, run as they stand there: every fenced `sh` block of `docs/*.md` that
//! begins with `# example: NAME`.
//!
//! Owns finding and running them, against one coordinator, some side by side. What holds is said in
//! each block: it ends with a check, and `sh -eu` ends it at the first thing that goes wrong.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use futures::StreamExt as _;
use redrive_tests::process::Folder;

use super::stage::{Stage, without_settings};

/// How long one example may take.
const TIME_MAX: Duration = Duration::from_secs(60);
/// Examples that run side by side at most.
const AT_ONCE_MAX: usize = 4;
/// How a block says that it is an example.
const MARK: &str = "# example: ";
/// How the names begin that an example gives to its queues, so that none meets another's tasks.
const OWN: &str = "docs-";

/// A block, and where it stands.
struct Example {
    page: String,
    name: String,
    script: String,
}

#[tokio::test]
async fn every_example_of_the_pages_does_what_it_says() {
    let examples = examples();
    assert!(!examples.is_empty(), "no page has an example");
    let stage = Stage::new();
    let runs = examples.iter().map(|example| run(&stage, example));
    let failed: Vec<String> = futures::stream::iter(runs)
        .buffer_unordered(AT_ONCE_MAX)
        .filter_map(async |failure| failure)
        .collect()
        .await;
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn every_example_has_a_name_and_queues_of_its_own() {
    let examples = examples();
    let names: BTreeSet<&str> = examples.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names.len(), examples.len(), "a name is there twice");
    let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
    for example in &examples {
        let words = example.script.split(|letter: char| {
            !letter.is_ascii_alphanumeric() && letter != '-' && letter != '.'
        });
        let mut own = words.filter(|word| word.starts_with(OWN)).peekable();
        assert!(own.peek().is_some(), "{}: no {OWN}queue", example.name);
        for word in own {
            let owner = owners.entry(word).or_insert(&example.name);
            assert_eq!(*owner, example.name, "{word} is of two examples");
        }
    }
}

fn examples() -> Vec<Example> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let mut pages: Vec<PathBuf> = fs::read_dir(docs)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "md"))
        .collect();
    pages.sort();
    pages.iter().flat_map(|path| of_page(path)).collect()
}

fn of_page(path: &Path) -> Vec<Example> {
    let text = fs::read_to_string(path).unwrap();
    let page = path.file_name().unwrap().to_string_lossy().into_owned();
    let blocks = text.split("```sh\n").skip(1);
    let found: Vec<Example> = blocks
        .map(|rest| rest.split("```").next().unwrap())
        .filter_map(|script| {
            let name = script.lines().next()?.strip_prefix(MARK)?;
            Some(Example {
                page: page.clone(),
                name: name.to_owned(),
                script: script.to_owned(),
            })
        })
        .collect();
    let marks = text.matches(MARK).count();
    assert_eq!(found.len(), marks, "{page}: {MARK:?} begins no `sh` block");
    found
}

/// What there is to tell of an example that failed.
async fn run(stage: &Stage, example: &Example) -> Option<String> {
    let folder = Folder::new(env!("CARGO_TARGET_TMPDIR"), &example.name);
    let log = folder.path().join("log");
    // A file, because a pipe stays open as long as a worker that the block has left behind.
    let output = fs::File::create(&log).unwrap();
    let mut command = without_settings(Command::new("sh"));
    command
        .args(["-eu", "-c", &example.script])
        .current_dir(folder.path())
        .env("PATH", search_path())
        .env("REDRIVE_ADDRESS", &stage.address)
        .stdout(output.try_clone().unwrap())
        .stderr(output)
        .process_group(0);
    let mut child = tokio::process::Command::from(command)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let group = format!("-{}", child.id().unwrap());
    let end = match tokio::time::timeout(TIME_MAX, child.wait()).await {
        Ok(status) => status.unwrap().to_string(),
        Err(_elapsed) => format!("not ended after {TIME_MAX:?}"),
    };
    let failed = end != "exit status: 0";
    if failed {
        // Its workers, too. Where all are gone, there is nothing to end.
        let mut kill = Command::new("kill");
        kill.args(["-TERM", "--", &group]).stderr(Stdio::null());
        drop(kill.status());
    }
    failed.then(|| {
        format!(
            "{} of {}: {end}\n{}\nprinted\n{}",
            example.name,
            example.page,
            example.script,
            fs::read_to_string(&log).unwrap()
        )
    })
}

/// Where programs are found: the binary that is tested first.
fn search_path() -> OsString {
    let binary = Path::new(env!("CARGO_BIN_EXE_redrive"));
    let mut folders = vec![binary.parent().unwrap().to_owned()];
    if let Some(path) = std::env::var_os("PATH") {
        folders.extend(std::env::split_paths(&path));
    }
    std::env::join_paths(folders).unwrap()
}
