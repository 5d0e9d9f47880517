"""How the page looks: paper and ink by day, a darkroom by night, and the orange of its safelight.

Fonts are those that ship with Gradio, served from here; nothing is fetched from elsewhere.
"""

from __future__ import annotations

from pathlib import Path

import gradio as gr

HERE = Path(__file__).parent
CSS = (HERE / "style.css").read_text(encoding="utf-8")
FAVICON = str(HERE / "favicon.png")
NAMES_JS = """
(() => {
  const pairs = {
    "#ek-stage": ["The face before the edit", "The edited face"],
    "#ek-whole": ["The whole photo before the edit", "The whole photo, edited"],
  };
  const name = () => {
    for (const [where, alts] of Object.entries(pairs))
      document.querySelectorAll(where + " img").forEach((image, at) => {
        if (alts[at] && image.alt !== alts[at]) image.alt = alts[at];
      });
    document.querySelectorAll("#ek-examples button:has(img)").forEach(button => {
      const file = decodeURIComponent(button.querySelector("img").src.split("/").pop()).replace(/\\.\\w+$/, "");
      button.setAttribute("aria-label", "Example: " + file.replaceAll("-", " "));
    });
  };
  let due = false;
  new MutationObserver(() => {
    if (due) return;
    due = true;
    requestAnimationFrame(() => { due = false; name(); });
  }).observe(document.documentElement, {childList: true, subtree: true});
})();
"""
"""Names for readers of screens where Gradio has no option for them: pictures, and the buttons of the examples."""
HEAD = (
    '<meta name="color-scheme" content="light dark"><meta name="referrer" content="no-referrer">'
    f"<script>{NAMES_JS}</script>"
)

PAPER = gr.themes.Color(
    name="paper",
    c50="#fbf9f4", c100="#f4f1ea", c200="#e7e2d6", c300="#d4cdbd", c400="#a8a092", c500="#7c7568", c600="#5f594e",
    c700="#423d35", c800="#26231f", c900="#1b1917", c950="#121110",
)  # fmt: skip
SAFELIGHT = gr.themes.Color(
    name="safelight",
    c50="#fff3ed", c100="#ffe2d5", c200="#ffc2a9", c300="#ff9a73", c400="#fb7443", c500="#e8562a", c600="#c4421c",
    c700="#a03416", c800="#7c2a14", c900="#5c2011", c950="#321006",
)  # fmt: skip


def theme() -> gr.themes.Base:
    """The one theme, light and dark."""
    sans = (gr.themes.LocalFont("Source Sans Pro", weights=(400, 700)), "system-ui", "sans-serif")
    mono = (gr.themes.LocalFont("IBM Plex Mono", weights=(400, 700)), "ui-monospace", "monospace")
    base = gr.themes.Base(
        primary_hue=SAFELIGHT,
        secondary_hue=SAFELIGHT,
        neutral_hue=PAPER,
        font=sans,
        font_mono=mono,
        radius_size=gr.themes.sizes.radius_sm,
        spacing_size=gr.themes.sizes.spacing_md,
        text_size=gr.themes.sizes.text_md,
    )
    return base.set(
        body_background_fill="*neutral_100",
        body_background_fill_dark="*neutral_950",
        body_text_color="*neutral_800",
        body_text_color_dark="#ece7de",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_400",
        background_fill_primary="*neutral_50",
        background_fill_primary_dark="*neutral_900",
        background_fill_secondary="*neutral_100",
        background_fill_secondary_dark="*neutral_950",
        border_color_primary="*neutral_200",
        border_color_primary_dark="#36312b",
        block_background_fill="*neutral_50",
        block_background_fill_dark="*neutral_900",
        block_border_width="1px",
        block_border_color="*neutral_200",
        block_border_color_dark="#36312b",
        block_shadow="none",
        block_label_background_fill="*neutral_50",
        block_label_background_fill_dark="*neutral_900",
        block_label_text_color="*neutral_600",
        block_label_text_color_dark="*neutral_400",
        block_title_text_color="*neutral_700",
        block_title_text_color_dark="#d8d1c5",
        block_title_text_weight="600",
        block_info_text_color="*neutral_500",
        block_info_text_color_dark="*neutral_400",
        input_background_fill="#ffffff",
        input_background_fill_dark="*neutral_950",
        input_border_color="*neutral_300",
        input_border_color_dark="#46403a",
        input_border_color_focus="*primary_500",
        input_border_color_focus_dark="*primary_400",
        slider_color="*primary_500",
        slider_color_dark="*primary_400",
        color_accent="*primary_500",
        color_accent_soft="*primary_50",
        color_accent_soft_dark="#33190f",
        border_color_accent="*primary_500",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_500",
        button_primary_background_fill_hover_dark="*primary_400",
        button_primary_text_color="#ffffff",
        button_primary_text_color_dark="#1a0c06",
        button_secondary_background_fill="*neutral_50",
        button_secondary_background_fill_hover="#ffffff",
        button_secondary_background_fill_dark="#24211e",
        button_secondary_background_fill_hover_dark="#2e2a26",
        button_secondary_border_color="*neutral_300",
        button_secondary_border_color_dark="#46403a",
        button_border_width="1px",
        link_text_color="*primary_700",
        link_text_color_dark="*primary_300",
        checkbox_background_color_selected="*primary_600",
        checkbox_background_color_selected_dark="*primary_500",
        checkbox_border_color_selected="*primary_600",
        checkbox_label_background_fill="transparent",
        checkbox_label_background_fill_dark="transparent",
        checkbox_label_background_fill_selected="*primary_50",
        checkbox_label_background_fill_selected_dark="#33190f",
        checkbox_label_border_color_selected="*primary_500",
        checkbox_label_border_color_selected_dark="*primary_400",
        checkbox_label_text_color_selected="*primary_800",
        checkbox_label_text_color_selected_dark="*primary_200",
        panel_background_fill="transparent",
        panel_background_fill_dark="transparent",
    )
