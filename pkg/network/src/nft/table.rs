//! A table of the kernel, and the one that should be there.
//!
//! Whoever owns a table says what it should hold, piece by piece, and syncs: one transaction takes what changed since the
//! last one to the kernel. After a restart or a failure the kernel's table is read back and compared first, so that one
//! code path starts, repairs and updates, and sets that fill themselves (affinity) keep their elements.
//!
//! The text of a rule is not what the kernel gives back. So the first rule of each chain carries a fingerprint of them all
//! as its comment; a chain is as it should be when fingerprint and number of rules are.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::read;
use crate::Result;

/// Before Linux 6.2 a chain counts as used for a moment after the last element that led to it is gone.
const REST: Duration = Duration::from_secs(1);

/// Where a chain is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// `filter` or `nat`.
    pub kind: String,
    /// `prerouting`, `input` and so on.
    pub hook: String,
    /// Lower numbers are first.
    pub priority: i64,
}

impl Base {
    /// A chain of `kind` at `hook`.
    #[must_use]
    pub fn new(kind: &str, hook: &str, priority: i64) -> Self {
        Self { kind: kind.to_owned(), hook: hook.to_owned(), priority }
    }
}

/// What a set or a map holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// The type of the keys, for example `ipv4_addr . inet_proto`.
    pub key: String,
    /// The type of the values, for example `verdict`; `None` for a set.
    pub value: Option<String>,
    /// Whether keys may be ranges.
    pub interval: bool,
    /// For a set that rules fill: how long an element stays after its last use. Its elements are left alone.
    pub timeout: Option<Duration>,
}

impl Set {
    /// A set of single keys.
    #[must_use]
    pub fn of(key: &str) -> Self {
        Self { key: key.to_owned(), value: None, interval: false, timeout: None }
    }

    /// A map from single keys.
    #[must_use]
    pub fn map(key: &str, value: &str) -> Self {
        Self { value: Some(value.to_owned()), ..Self::of(key) }
    }

    /// A set of ranges.
    #[must_use]
    pub fn ranges(key: &str) -> Self {
        Self { interval: true, ..Self::of(key) }
    }

    /// A set that rules fill.
    #[must_use]
    pub fn dynamic(key: &str, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..Self::of(key) }
    }

    fn declare(&self, family: &str, table: &str, name: &str) -> String {
        let kind = if self.value.is_some() { "map" } else { "set" };
        let value = self.value.as_deref().map(|value| format!(" : {value}")).unwrap_or_default();
        let flags = match (self.interval, self.timeout) {
            (true, _) => "flags interval; ".to_owned(),
            (false, Some(timeout)) => format!("flags dynamic,timeout; timeout {}s; ", timeout.as_secs()),
            (false, None) => String::new(),
        };
        format!("add {kind} {family} {table} {name} {{ type {}{value}; {flags}}}\n", self.key)
    }

    /// A key as nft reads it: names of links are quoted.
    fn quote(&self, key: &str) -> String {
        let parts = self.key.split(" . ").zip(key.split(" . "));
        let quoted = parts.map(|(kind, part)| match kind {
            "ifname" => format!("\"{part}\""),
            _ => part.to_owned(),
        });
        quoted.collect::<Vec<_>>().join(" . ")
    }
}

/// A chain as it can be compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) base: Option<Base>,
    pub(super) rules: usize,
    /// Empty without rules, or when they are not ours.
    pub(super) fingerprint: String,
}

/// What is in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) chains: BTreeMap<String, Chain>,
    pub(super) sets: BTreeMap<String, Set>,
    /// By set and key; the value is empty in sets. Not those of sets that rules fill.
    pub(super) elements: BTreeMap<String, BTreeMap<String, String>>,
}

/// What should be there.
#[derive(Clone, Debug, Default)]
struct Desired {
    chains: BTreeMap<String, (Option<Base>, Vec<String>)>,
    sets: BTreeMap<String, Set>,
    elements: BTreeMap<String, BTreeMap<String, String>>,
}

/// What may differ between the two.
#[derive(Debug, Default)]
struct Dirty {
    chains: BTreeSet<String>,
    sets: BTreeSet<String>,
    elements: BTreeSet<(String, String)>,
}

/// One table of this process.
#[derive(Debug)]
pub struct Table {
    family: &'static str,
    name: &'static str,
    desired: Desired,
    kernel: Option<State>,
    dirty: Dirty,
    /// Chains that are empty and wait to be deleted.
    resting: BTreeMap<String, Instant>,
}

impl Table {
    /// A table that should be empty; `family` is nft's name, for example `ip`.
    #[must_use]
    pub fn new(family: &'static str, name: &'static str) -> Self {
        Self {
            family,
            name,
            desired: Desired::default(),
            kernel: None,
            dirty: Dirty::default(),
            resting: BTreeMap::new(),
        }
    }

    /// There should be a chain that the kernel calls.
    pub fn base_chain(&mut self, name: &str, base: Base, rules: Vec<String>) {
        self.dirty.chains.insert(name.to_owned());
        self.desired.chains.insert(name.to_owned(), (Some(base), rules));
    }

    /// There should be a chain that other chains call.
    pub fn chain(&mut self, name: &str, rules: Vec<String>) {
        let known = self.desired.chains.get(name).is_some_and(|(base, present)| base.is_none() && *present == rules);
        if !known {
            self.dirty.chains.insert(name.to_owned());
            self.desired.chains.insert(name.to_owned(), (None, rules));
        }
    }

    /// There should be no such chain.
    pub fn remove_chain(&mut self, name: &str) {
        if self.desired.chains.remove(name).is_some() {
            self.dirty.chains.insert(name.to_owned());
        }
    }

    /// There should be a set or a map.
    pub fn set(&mut self, name: &str, set: Set) {
        if self.desired.sets.get(name) != Some(&set) {
            self.dirty.sets.insert(name.to_owned());
            self.desired.sets.insert(name.to_owned(), set);
        }
    }

    /// There should be no such set or map.
    pub fn remove_set(&mut self, name: &str) {
        if self.desired.sets.remove(name).is_some() {
            self.dirty.sets.insert(name.to_owned());
        }
    }

    /// A set should hold `key`, or a map lead from it to `value`; `None` means that it should not.
    pub fn element(&mut self, set: &str, key: &str, value: Option<&str>) {
        let elements = self.desired.elements.entry(set.to_owned()).or_default();
        if elements.get(key).map(String::as_str) != value {
            match value {
                Some(value) => elements.insert(key.to_owned(), value.to_owned()),
                None => elements.remove(key),
            };
            self.dirty.elements.insert((set.to_owned(), key.to_owned()));
        }
    }

    /// A set should hold exactly these keys.
    pub fn elements(&mut self, set: &str, keys: &BTreeSet<String>) {
        let present = self.desired.elements.get(set).map(|present| present.keys().cloned().collect::<Vec<_>>());
        for gone in present.iter().flatten().filter(|key| !keys.contains(*key)) {
            self.element(set, gone, None);
        }
        for key in keys {
            self.element(set, key, Some(""));
        }
    }

    /// Forgets what is known of the kernel: the next sync looks.
    pub fn distrust(&mut self) {
        self.kernel = None;
    }

    /// When [`Table::sync`] has something to clear away although nothing changes.
    #[must_use]
    pub fn rests_until(&self) -> Option<Instant> {
        self.resting.values().min().map(|since| *since + REST)
    }

    /// Makes the kernel's table what it should be, in one transaction. If the kernel refuses the difference, the table is
    /// looked at again, and made anew as a last resort.
    ///
    /// # Errors
    /// When the kernel refuses even that; nothing has changed then, and the next sync starts over.
    pub async fn sync(&mut self) -> Result<()> {
        let trusted = self.kernel.is_some();
        let attempt = match self.attempt().await {
            Err(error) if trusted => {
                tracing::warn!(table = self.name, family = self.family, %error, "the table is not as it was left");
                self.attempt().await
            }
            other => other,
        };
        let attempt = match attempt {
            Err(error) => {
                tracing::warn!(table = self.name, family = self.family, %error, "the table is made anew");
                self.remake().await
            }
            other => other,
        };
        self.sweep().await;
        attempt
    }

    /// Takes the difference to the kernel.
    async fn attempt(&mut self) -> Result<()> {
        let kernel = match self.kernel.take() {
            Some(kernel) => kernel,
            None => {
                let listed = super::list(self.family, self.name).await?;
                let state = listed.as_deref().map(read::table).unwrap_or_default();
                self.doubt_everything(&state);
                state
            }
        };
        let commands = self.commands(&kernel);
        if !commands.is_empty() {
            super::apply(&commands).await?;
        }
        self.kernel = Some(self.carried_out(kernel));
        Ok(())
    }

    /// Deletes the table and makes it again, in one transaction.
    async fn remake(&mut self) -> Result<()> {
        let nothing = State::default();
        self.doubt_everything(&nothing);
        let (family, name) = (self.family, self.name);
        let clear = format!("add table {family} {name}\ndelete table {family} {name}\n");
        super::apply(&(clear + &self.commands(&nothing))).await?;
        self.kernel = Some(self.carried_out(nothing));
        self.resting.clear();
        Ok(())
    }

    /// Deletes the chains that have rested. A refusal costs nothing: they are empty, and tried again.
    async fn sweep(&mut self) {
        let now = Instant::now();
        let rested: Vec<String> =
            self.resting.iter().filter(|(_, since)| **since + REST <= now).map(|(name, _)| name.clone()).collect();
        if rested.is_empty() {
            return;
        }
        let commands: String =
            rested.iter().map(|name| format!("delete chain {} {} {name}\n", self.family, self.name)).collect();
        match super::apply(&commands).await {
            Ok(()) => {
                for name in rested {
                    self.resting.remove(&name);
                    if let Some(kernel) = &mut self.kernel {
                        kernel.chains.remove(&name);
                    }
                }
            }
            Err(error) => {
                tracing::debug!(table = self.name, %error, "chains are still in use");
                self.resting.values_mut().for_each(|since| *since = now);
            }
        }
    }

    fn doubt_everything(&mut self, kernel: &State) {
        let Self { desired, dirty, .. } = self;
        dirty.chains.extend(desired.chains.keys().chain(kernel.chains.keys()).cloned());
        dirty.sets.extend(desired.sets.keys().chain(kernel.sets.keys()).cloned());
        for elements in [&desired.elements, &kernel.elements] {
            for (set, elements) in elements {
                dirty.elements.extend(elements.keys().map(|key| (set.clone(), key.clone())));
            }
        }
    }

    /// What turns `kernel` into what should be, in an order in which nothing is used before it is there or removed while it
    /// is used.
    fn commands(&self, kernel: &State) -> String {
        let (family, table) = (self.family, self.name);
        let mut out = Sections::default();
        self.change_elements(kernel, &mut out);
        for name in &self.dirty.sets {
            let (wanted, present) = (self.desired.sets.get(name), kernel.sets.get(name));
            if wanted != present {
                if present.is_some() {
                    line(&mut out.drop_sets, format_args!("delete set {family} {table} {name}"));
                }
                out.add_sets += &wanted.map(|set| set.declare(family, table, name)).unwrap_or_default();
            }
        }
        for name in &self.dirty.chains {
            self.change_chain(kernel, name, &mut out);
        }
        let commands = [
            out.drop_elements,
            out.empty_chains,
            out.drop_sets,
            out.add_sets,
            out.add_chains,
            out.add_rules,
            out.add_elements,
        ]
        .concat();
        if commands.is_empty() { commands } else { format!("add table {family} {table}\n{commands}") }
    }

    fn change_elements(&self, kernel: &State, out: &mut Sections) {
        let (family, table) = (self.family, self.name);
        for (set, key) in &self.dirty.elements {
            let of = |elements: &BTreeMap<String, BTreeMap<String, String>>| elements.get(set)?.get(key).cloned();
            let (wanted, present) = (of(&self.desired.elements), of(&kernel.elements));
            // A set that is made again is empty.
            let present = present.filter(|_| self.desired.sets.get(set) == kernel.sets.get(set));
            if wanted == present {
                continue;
            }
            let Some(quoted) = self.desired.sets.get(set).map(|set| set.quote(key)) else { continue };
            if present.is_some() {
                line(&mut out.drop_elements, format_args!("delete element {family} {table} {set} {{ {quoted} }}"));
            }
            if let Some(value) = wanted {
                let value = if value.is_empty() { value } else { format!(" : {value}") };
                line(&mut out.add_elements, format_args!("add element {family} {table} {set} {{ {quoted}{value} }}"));
            }
        }
    }

    fn change_chain(&self, kernel: &State, name: &str, out: &mut Sections) {
        let (family, table) = (self.family, self.name);
        let present = kernel.chains.get(name);
        let Some((base, rules)) = self.desired.chains.get(name) else {
            if present.is_some_and(|chain| chain.rules > 0 || chain.base.is_some()) {
                line(&mut out.empty_chains, format_args!("flush chain {family} {table} {name}"));
            }
            if present.is_some_and(|chain| chain.base.is_some()) {
                line(&mut out.empty_chains, format_args!("delete chain {family} {table} {name}"));
            }
            return;
        };
        let wanted = self.content(name);
        if present == wanted.as_ref() {
            return;
        }
        if present.is_some_and(|chain| chain.rules > 0) {
            line(&mut out.empty_chains, format_args!("flush chain {family} {table} {name}"));
        }
        if present.is_none_or(|chain| chain.base != *base) {
            if present.is_some() {
                line(&mut out.empty_chains, format_args!("delete chain {family} {table} {name}"));
            }
            let base = base
                .as_ref()
                .map(|Base { kind, hook, priority }| format!(" {{ type {kind} hook {hook} priority {priority}; }}"));
            line(&mut out.add_chains, format_args!("add chain {family} {table} {name}{}", base.unwrap_or_default()));
        }
        let mut comment = wanted.map(|chain| format!(" comment \"{}\"", chain.fingerprint)).unwrap_or_default();
        for rule in rules {
            line(&mut out.add_rules, format_args!("add rule {family} {table} {name} {rule}{comment}"));
            comment.clear();
        }
    }

    /// How the kernel will show a chain that is as it should be.
    fn content(&self, name: &str) -> Option<Chain> {
        let (base, rules) = self.desired.chains.get(name)?;
        let fingerprint = if rules.is_empty() { String::new() } else { fingerprint(rules) };
        Some(Chain { base: base.clone(), rules: rules.len(), fingerprint })
    }

    /// The kernel after [`Table::commands`] succeeded.
    fn carried_out(&mut self, mut kernel: State) -> State {
        let dirty = std::mem::take(&mut self.dirty);
        for name in dirty.chains {
            if let Some(chain) = self.content(&name) {
                self.resting.remove(&name);
                kernel.chains.insert(name, chain);
            } else if let Some(chain) = kernel.chains.get_mut(&name) {
                if chain.base.is_some() {
                    kernel.chains.remove(&name);
                } else {
                    *chain = Chain::default();
                    self.resting.entry(name).or_insert_with(Instant::now);
                }
            }
        }
        for name in dirty.sets {
            match self.desired.sets.get(&name) {
                Some(set) => kernel.sets.insert(name, set.clone()),
                None => {
                    kernel.elements.remove(&name);
                    kernel.sets.remove(&name)
                }
            };
        }
        for (set, key) in dirty.elements {
            let wanted = self.desired.elements.get(&set).and_then(|elements| elements.get(&key));
            let present = kernel.elements.entry(set).or_default();
            match wanted {
                Some(value) => present.insert(key, value.clone()),
                None => present.remove(&key),
            };
        }
        kernel
    }
}

#[derive(Default)]
struct Sections {
    drop_elements: String,
    empty_chains: String,
    drop_sets: String,
    add_sets: String,
    add_chains: String,
    add_rules: String,
    add_elements: String,
}

fn line(section: &mut String, command: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(section, "{command}");
}

/// A short hash of a chain's rules.
fn fingerprint(rules: &[String]) -> String {
    let mut hash = Sha256::new();
    for rule in rules {
        hash.update(rule);
        hash.update("\n");
    }
    hash.finalize().iter().take(8).fold(String::with_capacity(16), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
