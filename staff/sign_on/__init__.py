"""Single sign-on by OpenID Connect: the authorization code flow with PKCE, off unless DMR_OIDC_ISSUER is set.

`flow` goes to the provider and comes back, `provider` calls it, `id_token` believes or refuses what it says, `people`
makes an account of it. See docs/staff.md.
"""
