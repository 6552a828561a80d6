//! Nobody may give away rights that they do not hold:
//! <https://kubernetes.io/docs/reference/access-authn-authz/rbac/#privilege-escalation-prevention-and-bootstrapping>.

use knarr_api::user::UserInfo;

use super::{Rbac, Rule, missing, quoted_list};

impl Rbac {
    /// Checks that the user holds, in `namespace`, every right that `rules` give.
    ///
    /// # Errors
    /// Upstream's text with what is missing.
    pub fn confirm_no_escalation(&self, user: &UserInfo, namespace: &str, rules: &[Rule]) -> Result<(), String> {
        let (held, broken) = self.rules_for(user, namespace);
        let missing = missing(&held, rules);
        if missing.is_empty() {
            return Ok(());
        }
        let mut lines: Vec<_> = missing.iter().map(ToString::to_string).collect();
        lines.sort();
        lines.dedup();
        let mut text = format!(
            "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
            user.username,
            quoted_list(&user.groups),
            lines.join("\n")
        );
        if let Some(broken) = broken {
            text.push_str(&format!("; resolution errors: [{broken}]"));
        }
        Err(text)
    }

    /// Checks what a `ClusterRole` with an `aggregationRule` needs: it can gather anything, so it needs everything.
    ///
    /// # Errors
    /// Upstream's text.
    pub fn confirm_full_authority(&self, user: &UserInfo, namespace: &str) -> Result<(), String> {
        let all = || vec!["*".to_owned()];
        let full = [
            Rule { verbs: all(), api_groups: all(), resources: all(), ..Rule::default() },
            Rule { verbs: all(), non_resource_urls: all(), ..Rule::default() },
        ];
        let text = "must have cluster-admin privileges to use the aggregationRule";
        self.confirm_no_escalation(user, namespace, &full).map_err(|_| text.into())
    }
}
