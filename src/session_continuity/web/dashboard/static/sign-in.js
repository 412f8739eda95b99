// The link was opened on purpose: press its button.
document.querySelector("[data-sign-in]").requestSubmit();
