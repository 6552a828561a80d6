//! IPAddresses and ServiceCIDRs.

use crate::Object;
use crate::field::{Errors, Path};
use crate::strategy::row::{METADATA, Row};
use crate::strategy::rules::{At, IMMUTABLE, Rule, check, formed};
use crate::strategy::{Context, NameRule, forms};
use crate::tree::{Tree, same};

/// IPAddresses.
pub(in crate::strategy) static IP_ADDRESS: Row = Row {
    check: |_, errors, address| {
        let spec = At { path: Path::root("spec"), object: address.map("spec") };
        match spec.enter("parentRef") {
            None => errors.required(spec.path("parentRef"), ""),
            Some(parent) => check(errors, &parent, PARENT),
        }
    },
    check_update: |_, errors, new, old| {
        if !same(new.value("spec.parentRef"), old.value("spec.parentRef")) {
            let path = Path::root("spec").child("parentRef");
            errors.invalid(path, new.map("spec.parentRef").clone(), IMMUTABLE);
        }
    },
    name: NameRule::IpAddress,
    ..Row::PLAIN
};

const PARENT: &[Rule] = &[
    Rule::Formed("group", forms::subdomain),
    Rule::Named("resource", forms::path_segment),
    Rule::Named("name", forms::path_segment),
    Rule::Formed("namespace", forms::path_segment),
];

/// ServiceCIDRs.
pub(in crate::strategy) static SERVICE_CIDR: Row =
    Row { check: check_cidrs, check_update: keep_cidrs, status_restores: METADATA, ..Row::PLAIN };

fn check_cidrs(_cx: &Context<'_>, errors: &mut Errors, config: &Object) {
    let path = Path::root("spec").child("cidrs");
    let all: Vec<_> = config.texts("spec.cidrs").collect();
    if all.is_empty() {
        errors.required(path.clone(), "at least one CIDR required");
    }
    if all.len() > 2 {
        errors.invalid(path.clone(), config.map("spec").clone(), "may only hold up to 2 values");
    }
    all.iter().enumerate().for_each(|(index, cidr)| formed(errors, &path.index(index), cidr, forms::cidr));
    if let [one, other] = *all.as_slice()
        && one.contains(':') == other.contains(':')
    {
        let detail = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        errors.invalid(path, all, detail);
    }
}

/// Ranges stay; a second family may be added.
fn keep_cidrs(_cx: &Context<'_>, errors: &mut Errors, new: &Object, old: &Object) {
    let path = Path::root("spec").child("cidrs");
    let (new, old): (Vec<_>, Vec<_>) = (new.texts("spec.cidrs").collect(), old.texts("spec.cidrs").collect());
    if new.len() == old.len() || (old.len() == 1 && new.len() == 2) {
        for (index, (new, _)) in new.iter().zip(&old).enumerate().filter(|(_, (new, old))| new != old) {
            errors.invalid(path.index(index), *new, IMMUTABLE);
        }
    } else {
        errors.invalid(path, new, IMMUTABLE);
    }
}
