//! `cargo run -p xtask -- guards` proves that tests bite: it puts each defect of `tests/guards` back, one at a time, and
//! demands that the tests which claim to guard against it fail.
//!
//! A guard is a small file: which words of which file to replace, and by which arguments of `cargo test` the loss is
//! noticed. Words instead of a patch, for they survive changes around them; the test below notices at once when they
//! no longer stand in the file. Everything happens in a copy below `target/guards`, never in the work tree. Mutating every
//! operator of the crate instead was rejected: it takes days, and tells nothing of the defects that somebody suffered from.

use serde::Deserialize;
use std::{
    collections::BTreeSet,
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// How long one run of `cargo test` may take, building included; a defect may well hang a test.
const LIMIT: &str = "900";

/// One defect, as it can be put back.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Guard {
    /// What happens without the guard, in one line.
    defect: String,
    /// Arguments of `cargo test --all-features`: the tests that must fail, each of which passes otherwise.
    test: Vec<String>,
    /// What to change, all of it at once.
    change: Vec<Change>,
}

/// Words to be replaced in one file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    /// Relative to the workspace.
    file: String,
    /// Must stand there exactly once.
    find: String,
    /// What the defect looked like.
    replace: String,
}

impl Change {
    /// The text of the file with the defect in it.
    fn apply(&self, root: &Path) -> Result<String, String> {
        let text = fs::read_to_string(root.join(&self.file)).map_err(|error| format!("{}: {error}", self.file))?;
        match text.matches(&self.find).count() {
            1 if self.find != self.replace => Ok(text.replace(&self.find, &self.replace)),
            1 => Err(format!("{}: nothing would change", self.file)),
            times => Err(format!("{}: stands there {times} times, and should once: {:?}", self.file, self.find)),
        }
    }
}

/// All guards by name, which is the name of their file.
fn read(root: &Path) -> Result<Vec<(String, Guard)>, Box<dyn Error>> {
    let mut guards = Vec::new();
    for entry in fs::read_dir(root.join("tests/guards"))? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        guards.push((name.clone(), toml::from_str(&fs::read_to_string(&path)?).map_err(|e| format!("{name}: {e}"))?));
    }
    guards.sort_by(|a: &(String, Guard), b| a.0.cmp(&b.0));
    Ok(guards)
}

/// Puts back those whose names begin with one of `names`, all if there are none; answers whether every test noticed.
pub fn run(names: &[&str]) -> Result<bool, Box<dyn Error>> {
    let root = crate::root()?;
    let guards: Vec<_> = read(&root)?
        .into_iter()
        .filter(|(name, _)| names.is_empty() || names.iter().any(|wanted| name.starts_with(wanted)))
        .collect();
    if guards.is_empty() {
        return Err(format!("no guard's name begins with {}", names.join(" or ")).into());
    }
    let copy = Copy::of(&root)?;
    // All tests of the untouched copy first: it is built once, and not anew after each defect.
    let mut passing = BTreeSet::new();
    for test in guards.iter().map(|(_, guard)| &guard.test).collect::<BTreeSet<_>>() {
        if passes(&copy.test(test, false)?) {
            passing.insert(test);
        }
    }
    let mut sound = true;
    for (name, guard) in &guards {
        let verdict = if passing.contains(&guard.test) {
            copy.without(guard)?
        } else {
            "NO TEST passes even without the defect".to_owned()
        };
        sound &= verdict == NOTICED;
        println!("{name:<12} {verdict:<10} {} ({})", guard.defect, guard.test.join(" "));
    }
    Ok(sound)
}

const NOTICED: &str = "noticed";

/// Whether at least one test ran, and all that ran passed.
fn passes(output: &Output) -> bool {
    output.status.success() && passed(&String::from_utf8_lossy(&output.stdout)) > 0
}

/// How many tests passed, over all binaries.
fn passed(stdout: &str) -> usize {
    stdout
        .lines()
        .filter_map(|line| line.strip_prefix("test result: ok. ")?.split_once(" passed")?.0.parse::<usize>().ok())
        .sum()
}

/// The committed and changed files of the workspace, with a target folder of its own.
struct Copy {
    tree: PathBuf,
    target: PathBuf,
}

impl Copy {
    fn of(root: &Path) -> Result<Self, Box<dyn Error>> {
        let copy = Self { tree: root.join("target/guards/tree"), target: root.join("target/guards/build") };
        let listed = Command::new("git").current_dir(root).args(["ls-files", "-co", "--exclude-standard"]).output()?;
        if !listed.status.success() {
            return Err("git ls-files failed: guards work on a git work tree".into());
        }
        for file in String::from_utf8(listed.stdout)?.lines() {
            let (from, to) = (root.join(file), copy.tree.join(file));
            // What did not change keeps its time, so that cargo builds only what did.
            match fs::read(&from) {
                Ok(text) if fs::read(&to).is_ok_and(|there| there == text) => {}
                Ok(text) => {
                    fs::create_dir_all(to.parent().unwrap_or(&copy.tree))?;
                    fs::write(to, text)?;
                }
                Err(_) => drop(fs::remove_file(to)),
            }
        }
        Ok(copy)
    }

    /// Runs tests in the copy, or only builds them.
    fn test(&self, arguments: &[String], only_build: bool) -> Result<Output, std::io::Error> {
        let mut command = Command::new("timeout");
        command.current_dir(&self.tree).env("CARGO_TARGET_DIR", &self.target).args(["-k", "5", LIMIT, "cargo", "test"]);
        command.args(only_build.then_some("--no-run")).arg("--all-features").args(arguments).output()
    }

    /// Puts the defect into the copy, says whether its tests noticed, and takes it out again.
    fn without(&self, guard: &Guard) -> Result<String, Box<dyn Error>> {
        let mut before = Vec::new();
        let mut verdict = None;
        for change in &guard.change {
            let path = self.tree.join(&change.file);
            before.push((path.clone(), fs::read(&path)?));
            match change.apply(&self.tree) {
                Ok(text) => fs::write(path, text)?,
                Err(why) => verdict = Some(format!("CANNOT BE PUT BACK: {why}")),
            }
        }
        let verdict = match verdict {
            Some(verdict) => verdict,
            None => self.judge(&guard.test)?,
        };
        for (path, text) in before.into_iter().rev() {
            fs::write(path, text)?;
        }
        Ok(verdict)
    }

    fn judge(&self, test: &[String]) -> Result<String, std::io::Error> {
        let built = self.test(test, true)?;
        if !built.status.success() {
            return Ok(format!("DOES NOT COMPILE:\n{}", String::from_utf8_lossy(&built.stderr)));
        }
        let ran = self.test(test, false)?;
        Ok(if ran.status.success() { "NOT NOTICED".to_owned() } else { NOTICED.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_defect_can_still_be_put_back() {
        let root = crate::root().unwrap();
        let problems: Vec<_> = read(&root)
            .unwrap()
            .iter()
            .flat_map(|(name, guard)| {
                let root = &root;
                guard.change.iter().filter_map(move |c| c.apply(root).err().map(|why| format!("{name}: {why}")))
            })
            .collect();
        assert!(problems.is_empty(), "{problems:#?}");
    }

    /// Otherwise the page would say of a test that it guards, and nobody had seen it.
    #[test]
    fn every_guard_has_a_row_on_the_page_of_defects() {
        let root = crate::root().unwrap();
        let page = fs::read_to_string(root.join("docs/defects.md")).unwrap();
        let missing: Vec<_> = read(&root)
            .unwrap()
            .into_iter()
            .map(|(name, _)| name)
            .filter(|n| !page.contains(&format!("`{n}`")))
            .collect();
        assert!(missing.is_empty(), "docs/defects.md does not name these files of tests/guards: {missing:?}");
    }

    /// A test that nobody wrote, or that has another name by now, guards nothing.
    #[test]
    fn the_page_of_defects_names_tests_that_exist() {
        let root = crate::root().unwrap();
        let page = fs::read_to_string(root.join("docs/defects.md")).unwrap();
        let (mut found, mut missing) = (0, Vec::new());
        for tests in page.lines().filter_map(|row| row.strip_prefix("| ")?.split(" | ").nth(3)) {
            let mut text = String::new();
            // `path.rs::one, two, other.rs::three`; what is neither is prose.
            for word in tests.split([',', ' ']) {
                let name = match word.split_once(".rs::") {
                    Some((path, name)) => {
                        text = fs::read_to_string(root.join(format!("{path}.rs"))).unwrap_or_default();
                        name
                    }
                    None if word.contains('_') && !word.contains(['/', '(']) => word,
                    None => continue,
                };
                found += 1;
                if !text.contains(name) {
                    missing.push(name);
                }
            }
        }
        assert!(found > 50 && missing.is_empty(), "{found} found; nobody knows {missing:?}");
    }

    #[test]
    fn a_run_of_no_test_passes_nothing() {
        assert_eq!(passed("test result: ok. 0 passed; 0 failed; 0 ignored\n"), 0);
        assert_eq!(passed("test result: ok. 2 passed; 0 failed\ntest result: ok. 1 passed; 0 failed\n"), 3);
        assert_eq!(passed("test result: FAILED. 2 passed; 1 failed\n"), 0);
    }
}
