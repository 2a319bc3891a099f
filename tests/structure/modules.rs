//! Law: no modules of a crate form a circle, and `mod.rs`, `lib.rs` and `main.rs` declare, explain and re-export,
//! without logic. The folder `tests` is exempt: its `mod.rs` may have helpers.
//!
//! Files are read as tokens, without compiling them. An arrow leads from a file to each file of its crate that defines
//! something which it names, by an import or by a path in its code. A re-export hides no arrow and makes none: a name
//! that goes through `mod.rs` leads to the file that defines it. Methods are not looked up, because a call does not
//! name the file of its method.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;

use super::tokens::{after_item, built, is_name, keyword_of, tokens};
use super::{folder_of, modules_of_tests, packages, read, root, sources};

/// Files that declare the modules of their folder.
const DECLARING: [&str; 3] = ["mod.rs", "lib.rs", "main.rs"];

/// Keywords that a name follows which the file then defines.
const DEFINE: [&str; 8] = ["fn", "struct", "enum", "trait", "type", "const", "static", "mod"];

/// Path of a module from the root of its crate.
type Module = Vec<String>;

/// A name that an import brings into a module.
struct Import {
    path: Vec<String>,
    /// Name that it has there; `*` for all names.
    name: String,
    is_public: bool,
}

/// A file of a crate.
struct Source {
    file: String,
    /// Names that it defines at its outermost level.
    defines: BTreeSet<String>,
    imports: Vec<Import>,
    /// Paths in its code, of several names each.
    paths: Vec<Vec<String>>,
}

/// Arrows of a crate: of each file, the files that it names, each with one of the names.
type Arrows = BTreeMap<String, BTreeMap<String, String>>;

impl Source {
    fn read(file: &str, text: &str) -> Self {
        let tokens = built(&tokens(text));
        let mut source =
            Self { file: file.to_owned(), defines: BTreeSet::new(), imports: Vec::new(), paths: Vec::new() };
        let (mut at, mut depth) = (0, 0_usize);
        while at < tokens.len() {
            let (token, next) = (tokens[at], tokens.get(at + 1).copied().unwrap_or_default());
            let before = if at > 0 { tokens[at - 1] } else { "" };
            // Behind bounds, `use<'a>` is no import.
            if token == "use" && next != "<" {
                let is_public = ["pub", ")"].contains(&before);
                let mut named = Vec::new();
                at = read_imports(&tokens, at + 1, &[], &mut named);
                source.imports.extend(named.into_iter().map(|(path, name)| Import { path, name, is_public }));
                continue;
            }
            let after = tokens.get(at + 2).copied().unwrap_or_default();
            let is_declared = token == "mod" && after == ";";
            if depth == 0 && DEFINE.contains(&token) && is_name(next) && !DEFINE.contains(&next) && !is_declared {
                source.defines.insert(next.to_owned());
            } else if depth == 0 && token == "macro_rules" {
                source.defines.insert(after.to_owned());
            }
            match token {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth = depth.saturating_sub(1),
                _ => {}
            }
            let is_field = before == "." && (at < 2 || tokens[at - 2] != ".");
            if is_name(token) && next == "::" && before != "::" && !is_field {
                let mut path = vec![token.to_owned()];
                while tokens.get(at + 1) == Some(&"::") && tokens.get(at + 2).is_some_and(|name| is_name(name)) {
                    path.push(tokens[at + 2].to_owned());
                    at += 2;
                }
                source.paths.push(path);
            }
            at += 1;
        }
        source
    }
}

/// Reads the paths and names of an import behind what stands before it. Returns where it ends.
fn read_imports(tokens: &[&str], mut at: usize, before: &[String], named: &mut Vec<(Vec<String>, String)>) -> usize {
    let mut path = before.to_vec();
    while let Some(token) = tokens.get(at).copied() {
        at += 1;
        match token {
            // At the beginning, it says that what follows is another crate.
            "::" if path.is_empty() => path.push(token.to_owned()),
            "::" => {}
            "{" => {
                while tokens.get(at).is_some_and(|token| *token != "}") {
                    at = read_imports(tokens, at, &path, named);
                    at += usize::from(tokens.get(at) == Some(&","));
                }
                return at + 1;
            }
            "*" => {
                named.push((path, token.to_owned()));
                return at;
            }
            name => {
                // `a::{self}` is `a`.
                if name != "self" || path.is_empty() {
                    path.push(name.to_owned());
                }
                if tokens.get(at) == Some(&"::") {
                    continue;
                }
                let mut name = path.last().cloned().unwrap_or_default();
                if tokens.get(at) == Some(&"as") {
                    name = tokens.get(at + 1).copied().unwrap_or_default().to_owned();
                    at += 2;
                }
                named.push((path, name));
                return at;
            }
        }
    }
    at
}

/// The files of a crate, by their modules.
struct Crate(BTreeMap<Module, Source>);

impl Crate {
    /// Reads a crate out of its files, each with its path below `src`.
    fn of(files: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut all = BTreeMap::new();
        for (file, text) in files {
            let before = all.insert(module_of(&file), Source::read(&file, &text));
            assert!(before.is_none(), "{file} is a module that another file is, too");
        }
        Self(all)
    }

    /// Returns the arrows between the files.
    fn arrows(&self) -> Arrows {
        let mut arrows = Arrows::new();
        for (module, source) in &self.0 {
            let declares = DECLARING.iter().any(|name| Path::new(&source.file).ends_with(name));
            let imports = source.imports.iter().filter(|import| !(declares && import.is_public));
            let named = imports.map(|import| &import.path).chain(&source.paths);
            for path in named {
                for to in self.modules_behind(module, path, &mut BTreeSet::new()) {
                    if to != *module {
                        let of_file = arrows.entry(source.file.clone()).or_default();
                        let name = path.last().cloned().unwrap_or_default();
                        of_file.entry(self.0[&to].file.clone()).or_insert(name);
                    }
                }
            }
        }
        arrows
    }

    /// Returns the modules that a path leads to from a module: those that define what it names. There may be two,
    /// because a module and a function may have one name; there is none if the path leads out of the crate.
    fn modules_behind(
        &self,
        from: &Module,
        path: &[String],
        passed: &mut BTreeSet<(Module, String)>,
    ) -> BTreeSet<Module> {
        let (mut at, mut is_of_crate) = (from.clone(), false);
        for (place, name) in path.iter().enumerate() {
            match name.as_str() {
                "crate" => at.clear(),
                "super" => drop(at.pop()),
                "self" => {}
                _ => {
                    let (rest, child) = (&path[place + 1..], [at.as_slice(), std::slice::from_ref(name)].concat());
                    let is_child = self.0.contains_key(&child);
                    if is_child && !rest.is_empty() {
                        at = child;
                        is_of_crate = true;
                        continue;
                    }
                    let mut found = BTreeSet::new();
                    found.extend(Some(child).filter(|_| is_child));
                    let Some(source) = self.0.get(&at) else { return found };
                    found.extend(Some(at.clone()).filter(|_| source.defines.contains(name)));
                    let imported = || source.imports.iter().filter(move |import| import.name == *name);
                    if passed.insert((at.clone(), name.clone())) {
                        for import in imported() {
                            found.extend(self.modules_behind(&at, &[import.path.as_slice(), rest].concat(), passed));
                        }
                        for import in source.imports.iter().filter(|import| import.name == "*") {
                            for of_all in self.modules_behind(&at, &import.path, passed) {
                                if self.has(&of_all, name) {
                                    found.extend(self.modules_behind(&of_all, &path[place..], passed));
                                }
                            }
                        }
                    }
                    // A name that nothing defines or imports is made by a macro.
                    if is_of_crate && found.is_empty() && imported().next().is_none() {
                        found.insert(at);
                    }
                    return found;
                }
            }
            is_of_crate = true;
        }
        BTreeSet::from([at])
    }

    /// Returns whether a module has a name, of its own or by an import.
    fn has(&self, module: &Module, name: &str) -> bool {
        let child = [module.as_slice(), &[name.to_owned()]].concat();
        let is_here =
            |source: &Source| source.defines.contains(name) || source.imports.iter().any(|import| import.name == name);
        self.0.contains_key(&child) || self.0.get(module).is_some_and(is_here)
    }
}

/// Returns the module that a file below `src` is.
fn module_of(file: &str) -> Module {
    let path = file.strip_suffix(".rs").unwrap_or(file);
    let mut module: Module = path.split('/').map(str::to_owned).collect();
    module.pop_if(|last| ["mod", "lib", "main"].contains(&last.as_str()));
    module
}

/// Returns all files that arrows lead to from a file, in one step or many.
fn reached<'a>(arrows: &'a Arrows, from: &'a str) -> BTreeSet<&'a str> {
    let (mut reached, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(file) = open.pop() {
        for to in arrows.get(file).into_iter().flat_map(BTreeMap::keys) {
            if reached.insert(to.as_str()) {
                open.push(to);
            }
        }
    }
    reached
}

/// Returns the shortest way back to a file, as a line of arrows; `None` if there is none.
fn way_back(arrows: &Arrows, file: &str) -> Option<String> {
    let mut open = VecDeque::from([(file, file.to_owned())]);
    let mut seen = BTreeSet::new();
    while let Some((at, line)) = open.pop_front() {
        for (to, name) in arrows.get(at).into_iter().flatten() {
            let line = format!("{line} -> {to} ({name})");
            if to == file {
                return Some(line);
            }
            if seen.insert(to.as_str()) {
                open.push_back((to.as_str(), line));
            }
        }
    }
    None
}

/// Returns one line for all files that lead to each other, wherever there are several.
fn circles(arrows: &Arrows) -> Vec<String> {
    let mut told = BTreeSet::new();
    let mut lines = Vec::new();
    for file in arrows.keys() {
        let of_circle = |other: &&str| reached(arrows, other).contains(file.as_str());
        let circle: BTreeSet<_> = reached(arrows, file).into_iter().filter(of_circle).collect();
        if told.is_disjoint(&circle) {
            lines.extend(way_back(arrows, file));
            told.extend(circle);
        }
    }
    lines
}

/// Returns the items of a declaring file that do more than declare, each by its first words.
fn logic_of(file: &Path, text: &str) -> Vec<String> {
    let tokens = tokens(text);
    let (mut at, mut logic) = (0, Vec::new());
    while at < tokens.len() {
        let keyword = keyword_of(&tokens, at);
        let item = tokens.get(keyword..).unwrap_or_default();
        let is_plain = match item {
            // Attributes of the file itself may stand alone.
            [] | ["use", ..] | ["mod", _, ";", ..] => true,
            ["fn", "main", ..] => file.ends_with("main.rs"),
            _ => false,
        };
        if !is_plain {
            logic.push(item.iter().take(3).copied().collect::<Vec<_>>().join(" "));
        }
        at = after_item(&tokens, at);
    }
    logic
}

/// A file that two others need is below both; what two files need of each other is a third. So each can be read after
/// those that it names.
#[test]
fn modules_of_a_crate_form_no_circle() {
    let (mut found, mut looked_at) = (Vec::new(), 0);
    let sources = sources();
    for package in packages() {
        let folder = folder_of(&package).join("src");
        let of_package: Vec<_> = sources.iter().filter(|file| file.starts_with(&folder)).collect();
        let of_tests: Vec<_> = of_package.iter().flat_map(|file| modules_of_tests(file)).collect();
        let is_of_tests = |file: &Path| of_tests.iter().any(|module| file.with_extension("").starts_with(module));
        let files = of_package.into_iter().filter(|file| !is_of_tests(file)).map(|file| {
            let below = file.strip_prefix(&folder).expect("it begins so").to_str().expect("UTF-8");
            (below.to_owned(), read(file))
        });
        let arrows = Crate::of(files).arrows();
        looked_at += arrows.values().map(BTreeMap::len).sum::<usize>();
        found.extend(circles(&arrows).into_iter().map(|circle| format!("{}: {circle}", folder.display())));
    }
    assert!(looked_at > 500, "only {looked_at} arrows were found");
    let advice = "what files need of each other belongs into a file of its own, which each of them names";
    assert!(found.is_empty(), "{advice}; these files form circles:\n{}", found.join("\n"));
}

#[test]
fn declaring_files_have_no_logic() {
    let mut faults = Vec::new();
    let mut looked_at = 0;
    for file in sources().into_iter().filter(|file| !file.starts_with(root().join("tests"))) {
        if DECLARING.iter().any(|name| file.ends_with(name)) {
            looked_at += 1;
            let logic = logic_of(&file, &read(&file));
            faults.extend(logic.into_iter().map(|item| format!("{}: {item}", file.display())));
        }
    }
    assert!(looked_at > 20, "only {looked_at} files were looked at");
    let rule = "mod.rs, lib.rs and main.rs declare, explain and re-export; main.rs has main, too";
    assert!(faults.is_empty(), "{rule}; these do more:\n{}", faults.join("\n"));
}

/// Returns the circles of a crate that is made up of these files.
fn circles_of(files: &[(&str, &str)]) -> Vec<String> {
    let files = files.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned()));
    circles(&Crate::of(files).arrows())
}

#[test]
fn a_circle_is_found_whatever_hides_it() {
    let a = ("a.rs", "use crate::b::B;\npub struct A;");
    for (lib, b) in [
        // An import, among braces.
        ("mod a;\nmod b;", "use std::{fmt, io};\nuse crate::{a::{A, self}};\npub struct B(A);"),
        // A path in code, through a re-export under another name.
        ("mod a;\nmod b;\npub use a::{A as Other};", "pub struct B;\nfn f() -> B { let _ = super::Other::new(); B }"),
        // An import of everything.
        ("mod a;\nmod b;\npub use self::a::*;", "use super::A;\npub struct B(A);"),
        // An import for one function, and the module by its name.
        ("mod a;\nmod b;", "pub struct B;\nimpl B { fn f() { use super::a; drop(a::A) } }"),
    ] {
        let found = circles_of(&[("lib.rs", lib), a, ("b.rs", b)]);
        assert_eq!(found.len(), 1, "{b}: {found:?}");
        assert!(found[0].starts_with("a.rs -> b.rs (B) -> a.rs ("), "{b}: {found:?}");
    }
    let parent = ("b.rs", "mod c;\npub const D: u8 = c::C;");
    let found = circles_of(&[("lib.rs", "mod b;"), parent, ("b/c.rs", "pub const C: u8 = super::D;")]);
    assert_eq!(found, ["b.rs -> b/c.rs (C) -> b.rs (D)"]);
}

#[test]
fn docs_tests_and_texts_make_no_circle_of_modules() {
    let a = ("a.rs", "use crate::b::B;\npub struct A(B);");
    for b in [
        "//! See [`super::a::A`].\npub struct B;",
        "#[cfg(test)]\nmod tests {\n    use crate::a::A;\n}\npub struct B;",
        "#[cfg(doc)]\nuse crate::a::A;\npub struct B;",
        "pub struct B;\nconst TEXT: &str = \"crate::a::A\";",
        "use a::A;\npub(super) struct B;",
    ] {
        let found = circles_of(&[("lib.rs", "mod a;\nmod b;\npub use a::A;\npub use b::B;"), a, ("b.rs", b)]);
        assert_eq!(found, [""; 0], "{b}");
    }
}

#[test]
fn logic_in_a_declaring_file_is_found() {
    let plain = "//! Docs.\n#![allow(a)]\nmod a;\n#[cfg(test)]\nmod tests;\npub(crate) use a::{b, c};\nuse d as e;\n";
    let file = |name: &str| Path::new(name).to_owned();
    assert_eq!(logic_of(&file("src/mod.rs"), plain), [""; 0]);
    assert_eq!(logic_of(&file("src/main.rs"), &format!("{plain}fn main() {{}}")), [""; 0]);
    for item in ["fn main() {}", "pub const A: u8 = 1;", "mod a { fn b() {} }", "impl A { fn b() {} }", "a!(b);"] {
        let found = logic_of(&file("src/lib.rs"), &format!("{plain}{item}\nmod f;"));
        assert_eq!(found.len(), 1, "{item}: {found:?}");
    }
}
