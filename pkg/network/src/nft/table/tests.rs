use super::*;

fn rules(rules: &[&str]) -> Vec<String> {
    rules.iter().map(|rule| (*rule).to_owned()).collect()
}

fn example() -> Table {
    let mut table = Table::new("ip", "knarr");
    table.set("ports", Set::map("inet_proto . inet_service", "verdict"));
    table.set("links", Set::of("ifname . ipv4_addr"));
    table.base_chain("in", Base::new("filter", "input", 0), rules(&["jump a"]));
    table.chain("a", rules(&["accept", "drop"]));
    table.element("ports", "tcp . 80", Some("goto a"));
    table.element("links", "eth0.7 . 192.0.2.1", Some(""));
    table
}

/// The commands, without fingerprints and the words that all of them share.
fn commands(table: &mut Table, kernel: State) -> (Vec<String>, State) {
    let text = table.commands(&kernel);
    let lines = text.lines().map(|line| {
        let line = line.split(" comment ").next().unwrap_or_default();
        line.replace(" ip knarr", "")
    });
    (lines.collect(), table.carried_out(kernel))
}

fn all(table: &mut Table, kernel: State) -> (Vec<String>, State) {
    table.doubt_everything(&kernel);
    commands(table, kernel)
}

#[test]
fn everything_is_made_before_it_is_used() {
    let (made, kernel) = all(&mut example(), State::default());
    assert_eq!(
        made,
        [
            "add table",
            "add set links { type ifname . ipv4_addr; }",
            "add map ports { type inet_proto . inet_service : verdict; }",
            "add chain a",
            "add chain in { type filter hook input priority 0; }",
            "add rule a accept",
            "add rule a drop",
            "add rule in jump a",
            "add element links { \"eth0.7\" . 192.0.2.1 }",
            "add element ports { tcp . 80 : goto a }",
        ]
    );
    assert_eq!(all(&mut example(), kernel).0, Vec::<String>::new(), "what is there is not made again");
}

#[tokio::test]
async fn a_change_touches_only_what_changed() {
    let mut table = example();
    let (_, kernel) = all(&mut table, State::default());
    table.chain("b", rules(&["accept"]));
    table.remove_chain("a");
    table.element("ports", "tcp . 80", Some("goto b"));
    table.element("ports", "udp . 53", Some("drop"));
    let (changed, kernel) = commands(&mut table, kernel);
    assert_eq!(
        changed,
        [
            "add table",
            "delete element ports { tcp . 80 }",
            "flush chain a",
            "add chain b",
            "add rule b accept",
            "add element ports { tcp . 80 : goto b }",
            "add element ports { udp . 53 : drop }",
        ]
    );
    assert_eq!(table.resting.keys().collect::<Vec<_>>(), ["a"], "an unused chain is deleted later");

    table.chain("a", rules(&["return"]));
    let (changed, _) = commands(&mut table, kernel);
    assert_eq!(changed, ["add table", "add rule a return"]);
    assert!(table.resting.is_empty());
}

#[tokio::test]
async fn what_others_changed_is_repaired() {
    let (_, mut kernel) = all(&mut example(), State::default());
    kernel.chains.get_mut("a").unwrap().rules = 1;
    kernel.chains.get_mut("in").unwrap().base = Some(Base::new("filter", "input", 7));
    kernel.chains.insert("foreign".into(), Chain { rules: 3, ..Chain::default() });
    kernel.elements.get_mut("ports").unwrap().insert("tcp . 22".into(), "drop".into());
    kernel.elements.get_mut("ports").unwrap().remove("tcp . 80");
    let (repaired, _) = all(&mut example(), kernel);
    assert_eq!(
        repaired,
        [
            "add table",
            "delete element ports { tcp . 22 }",
            "flush chain a",
            "flush chain foreign",
            "flush chain in",
            "delete chain in",
            "add chain in { type filter hook input priority 0; }",
            "add rule a accept",
            "add rule a drop",
            "add rule in jump a",
            "add element ports { tcp . 80 : goto a }",
        ]
    );
}

#[tokio::test]
async fn a_set_of_another_type_is_made_again_with_its_elements() {
    let (_, kernel) = all(&mut example(), State::default());
    let mut table = example();
    table.set("ports", Set::map("inet_proto . inet_service", "mark"));
    table.element("ports", "tcp . 80", Some("7"));
    let (changed, _) = all(&mut table, kernel);
    assert_eq!(
        changed,
        [
            "add table",
            "delete set ports",
            "add map ports { type inet_proto . inet_service : mark; }",
            "add element ports { tcp . 80 : 7 }",
        ]
    );
}

#[test]
fn saying_the_same_again_is_no_change() {
    let mut table = example();
    let (_, kernel) = all(&mut table, State::default());
    table.chain("a", rules(&["accept", "drop"]));
    table.element("ports", "tcp . 80", Some("goto a"));
    table.set("links", Set::of("ifname . ipv4_addr"));
    assert!(table.dirty.chains.is_empty() && table.dirty.sets.is_empty() && table.dirty.elements.is_empty());
    assert_eq!(commands(&mut table, kernel).0, Vec::<String>::new());
}
