//! Other firewalls' rules.
//!
//! In netfilter a packet must be accepted by everybody: an accept in our tables does not overrule a drop in others. Docker
//! and ufw drop what is forwarded by default. So pods get an accept in the place that each of them documents for it, marked
//! as ours; [`withdraw`] removes it.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::process::{Command, Stdio};

use crate::error::Doing;
use crate::{Error, Result};

/// A command that must succeed and write a text; without a text its success is enough.
struct Probe(&'static str, &'static str);

/// One rule of another firewall.
struct Rule {
    program: &'static str,
    /// Whether that firewall runs here.
    active: Probe,
    present: Probe,
    add: &'static str,
    remove: &'static str,
}

/// <https://docs.docker.com/engine/network/packet-filtering-firewalls/>, ufw(8), firewalld.zones(5). The link is
/// [`crate::names::BRIDGE`].
const RULES: [Rule; 6] = [
    Rule {
        program: "iptables",
        active: Probe("-w -n -L DOCKER-USER", ""),
        present: Probe("-w -C DOCKER-USER -i knarr0 -m comment --comment knarr -j ACCEPT", ""),
        add: "-w -I DOCKER-USER -i knarr0 -m comment --comment knarr -j ACCEPT",
        remove: "-w -D DOCKER-USER -i knarr0 -m comment --comment knarr -j ACCEPT",
    },
    Rule {
        program: "iptables",
        active: Probe("-w -n -L DOCKER-USER", ""),
        present: Probe("-w -C DOCKER-USER -o knarr0 -m comment --comment knarr -j ACCEPT", ""),
        add: "-w -I DOCKER-USER -o knarr0 -m comment --comment knarr -j ACCEPT",
        remove: "-w -D DOCKER-USER -o knarr0 -m comment --comment knarr -j ACCEPT",
    },
    Rule {
        program: "ufw",
        active: Probe("status", "Status: active"),
        present: Probe("show added", "ufw allow in on knarr0 "),
        add: "allow in on knarr0 comment knarr",
        remove: "delete allow in on knarr0",
    },
    Rule {
        program: "ufw",
        active: Probe("status", "Status: active"),
        present: Probe("show added", "ufw route allow in on knarr0 "),
        add: "route allow in on knarr0 comment knarr",
        remove: "route delete allow in on knarr0",
    },
    Rule {
        program: "ufw",
        active: Probe("status", "Status: active"),
        present: Probe("show added", "ufw route allow out on knarr0 "),
        add: "route allow out on knarr0 comment knarr",
        remove: "route delete allow out on knarr0",
    },
    Rule {
        program: "firewall-cmd",
        active: Probe("--state", ""),
        present: Probe("--zone=trusted --query-interface=knarr0", ""),
        add: "--zone=trusted --add-interface=knarr0",
        remove: "--zone=trusted --remove-interface=knarr0",
    },
];

/// Asks every firewall that runs here to let pods through. Needs to be repeated: firewalls forget at their restart.
pub(super) fn admit() -> Result<()> {
    change(&Programs, true)
}

/// Undoes [`admit`].
pub(crate) fn withdraw() -> Result<()> {
    change(&Programs, false)
}

fn change(programs: &impl Runner, wanted: bool) -> Result<()> {
    for rule in &RULES {
        if rule.active.holds(rule.program, programs)? && rule.present.holds(rule.program, programs)? != wanted {
            let command = if wanted { rule.add } else { rule.remove };
            tracing::info!(firewall = rule.program, command, "changing another firewall's rules");
            if programs.run(rule.program, command)?.is_none() {
                let program = rule.program;
                return Err(Error::Config(format!("`{program} {command}` failed: run it by hand to see why")));
            }
        }
    }
    Ok(())
}

impl Probe {
    fn holds(&self, program: &str, programs: &impl Runner) -> Result<bool> {
        let Self(arguments, text) = self;
        // A command that ends before its text has one blank less than the one that goes on.
        Ok(programs.run(program, arguments)?.is_some_and(|output| output.replace('\n', " \n").contains(text)))
    }
}

/// Runs other firewalls' programs.
trait Runner {
    /// What a command wrote; `None` when it failed or there is no such program.
    fn run(&self, program: &str, arguments: &str) -> Result<Option<String>>;
}

struct Programs;

impl Runner for Programs {
    fn run(&self, program: &str, arguments: &str) -> Result<Option<String>> {
        let mut command = Command::new(OsStr::new(program));
        command.args(arguments.split(' ')).env("LC_ALL", "C").stdin(Stdio::null());
        match command.output() {
            Ok(output) => {
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                Ok(output.status.success().then_some(text))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).doing(|| format!("run {program}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    use crate::names::BRIDGE;

    /// A machine with some firewalls, and the commands that changed one.
    struct Machine {
        running: &'static str,
        rules: RefCell<BTreeSet<&'static str>>,
        changes: RefCell<Vec<String>>,
    }

    impl Machine {
        fn with(running: &'static str) -> Self {
            Self { running, rules: RefCell::default(), changes: RefCell::default() }
        }
    }

    impl Runner for Machine {
        fn run(&self, program: &str, arguments: &str) -> Result<Option<String>> {
            if program != self.running {
                return Ok(None);
            }
            let of = |part: fn(&Rule) -> &'static str| RULES.iter().find(|rule| part(rule) == arguments);
            if let Some(rule) = of(|rule| rule.add) {
                self.rules.borrow_mut().insert(rule.add);
            } else if let Some(rule) = of(|rule| rule.remove) {
                self.rules.borrow_mut().remove(rule.add);
            } else if arguments == "show added" {
                return Ok(Some(self.rules.borrow().iter().map(|rule| format!("ufw {rule}\n")).collect()));
            } else if let Some(rule) = of(|rule| rule.present.0) {
                return Ok(self.rules.borrow().contains(rule.add).then(String::new));
            } else {
                return Ok(Some("Status: active".into()));
            }
            self.changes.borrow_mut().push(arguments.to_owned());
            Ok(Some(String::new()))
        }
    }

    #[test]
    fn only_the_firewall_that_runs_is_asked_and_once() {
        for (firewall, rules) in [("iptables", 2), ("ufw", 3), ("firewall-cmd", 1), ("none", 0)] {
            let machine = Machine::with(firewall);
            for (wanted, changes) in [(true, rules), (true, rules), (false, 2 * rules), (false, 2 * rules)] {
                change(&machine, wanted).unwrap();
                assert_eq!(machine.changes.borrow().len(), changes, "{firewall}: {:?}", machine.changes.borrow());
            }
        }
    }

    #[test]
    fn a_firewall_that_refuses_is_told() {
        struct Refusing(Machine);
        impl Runner for Refusing {
            fn run(&self, program: &str, arguments: &str) -> Result<Option<String>> {
                let adds = RULES.iter().any(|rule| rule.add == arguments);
                if adds { Ok(None) } else { self.0.run(program, arguments) }
            }
        }
        let refused = change(&Refusing(Machine::with("firewall-cmd")), true).unwrap_err().to_string();
        assert!(refused.starts_with("`firewall-cmd --zone=trusted --add-interface=knarr0` failed"), "{refused}");
    }

    #[test]
    fn every_rule_names_the_bridge() {
        for rule in &RULES {
            assert!(rule.add.contains(BRIDGE) && rule.remove.contains(BRIDGE) && rule.present.0.len() > 4);
        }
    }
}
