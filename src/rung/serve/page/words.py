"""The page's words in English and Chinese. What comes from records and documents stays in its own language."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Language = Literal["en", "zh"]
LANGUAGES: Mapping[Language, str] = {"en": "English", "zh": "中文"}
"""Each by its name in itself."""

WORDS: Mapping[str, tuple[str, str]] = {
    # every page
    "skip": ("Skip to the content", "跳到正文"),
    "pages": ("Pages", "页面"),
    "language": ("Language", "语言"),
    "ask": ("Ask", "提问"),
    "leaderboard": ("Leaderboard", "排行榜"),
    "knowledge": ("Knowledge", "知识库"),
    "sign_out": ("Sign out", "退出"),
    "task": ("Task", "任务"),
    "show": ("Show", "查看"),
    "note_en": ("", "以下内容来自测量记录，原文为英文。"),
    # sign in
    "sign_in": ("Sign in", "登录"),
    "sign_in_why": (
        "This server needs an API key. Whoever runs it makes one with: rung keys add FOLDER NAME",
        "此服务器需要 API 密钥。运行者可用以下命令创建：rung keys add FOLDER NAME",
    ),
    "key": ("API key", "API 密钥"),
    "key_note": (
        "It is stored in a cookie that scripts cannot read, until the browser is closed or you sign out.",
        "密钥保存在脚本无法读取的 Cookie 中，关闭浏览器或退出后失效。",
    ),
    "key_wrong": ("This API key is not valid here.", "此 API 密钥在这里无效。"),
    "without_key": ("Go on without a key", "不使用密钥继续"),
    "needs_script": ("This page needs JavaScript.", "此页面需要 JavaScript。"),
    # ask
    "answered_by": ("Answered by", "由谁回答"),
    "compare_with": ("Side by side with", "并排比较"),
    "nobody": ("nothing else", "不比较"),
    "conversation": ("Conversation", "对话"),
    "your_question": ("Your question", "你的问题"),
    "send": ("Send", "发送"),
    "stop": ("Stop", "停止"),
    "anew": ("New conversation", "新对话"),
    "send_hint": ("Enter sends, Shift+Enter starts a new line.", "按 Enter 发送，Shift+Enter 换行。"),
    "you": ("You", "你"),
    "writing": ("Answering …", "正在回答……"),
    "answered": ("Answered.", "已回答。"),
    "stopped": ("Stopped.", "已停止。"),
    "cut": ("Cut at the most tokens of an answer.", "已达到回答长度上限，被截断。"),
    "confidence": ("Confidence", "置信度"),
    "not_answered": ("Not answered", "未作答"),
    "sources": ("Sources", "来源"),
    "also_read": ("Also found, not cited", "其他找到但未引用的段落"),
    "new_tab": ("opens in a new tab", "在新标签页中打开"),
    "read_last": ("Only the last message was read.", "只读取了最后一条消息。"),
    "right": ("Right", "正确"),
    "wrong": ("Wrong", "错误"),
    "correct_it": ("Correct it", "更正"),
    "correction": ("The right answer", "正确答案"),
    "save": ("Save", "保存"),
    "cancel": ("Cancel", "取消"),
    "thanks": ("Saved. Thank you.", "已保存，谢谢。"),
    "failed": ("This did not work", "出错了"),
    "try_again": ("The server is busy. Try again in {} seconds.", "服务器繁忙，请在 {} 秒后重试。"),
    "gone": ("The server cannot be reached.", "无法连接服务器。"),
    "stale": ("The page is from before the server's last start. Reload it.", "服务器已重启，请刷新页面。"),
    "rung": ("rung", "方法"),
    "untouched": ("the untouched base", "未改动的基础模型"),
    # leaderboard
    "running": ("A climb is running", "正在测量"),
    "climbing": (
        "{} of {} rungs are done; about {} left. It ends earlier at the first rung that meets the goal.",
        "已完成 {} / {} 个方法，大约还需 {}。首个达标的方法出现时会提前结束。",
    ),
    "state_done": ("measured", "已测量"),
    "state_failed": ("failed", "失败"),
    "state_skipped": ("skipped", "跳过"),
    "state_running": ("running", "进行中"),
    "state_waiting": ("waiting", "等待"),
    "progress": ("Progress", "进度"),
    "score": ("Score on dev", "开发集得分"),
    "time_to_fit": ("Time to fit", "训练时间"),
    "a_month": ("$ a month", "每月费用"),
    "no_climb": ("No climb has ended here yet, so nothing was measured.", "尚未完成任何测量。"),
    "climb_with": ("Measure the rungs with:", "用以下命令测量："),
    "no_rows": (
        "This folder holds documents alone: without rows there is nothing to measure answers against.",
        "此文件夹只有文档，没有可用来衡量回答的数据行。",
    ),
    "whole_report": ("The whole report", "完整报告"),
    "report_note": ("with cost, rows to read, training and data check", "包括费用、可读的数据行、训练过程与数据检查"),
    "live_note": ("Updates while a climb runs.", "测量进行时自动更新。"),
    # knowledge
    "no_documents": ("This task names no documents.", "此任务没有文档。"),
    "documents": ("Documents", "文档"),
    "document": ("Document", "文档"),
    "label": ("Label", "权限标签"),
    "open_to_all": ("open to all", "对所有人开放"),
    "hidden": ("{} more are restricted to other labels.", "另有 {} 个文档需要其他权限标签。"),
    "more_documents": ("{} more are not listed here; a search finds them.", "另有 {} 个文档未列出，可通过搜索找到。"),
    "long_document": ("The document is longer; this is a part of it.", "文档较长，这里只显示一部分。"),
    "health": ("Health of the index", "索引状态"),
    "whole": ("whole", "完整"),
    "not_whole": ("incomplete", "不完整"),
    "stale_docs": ("{} documents changed since they were indexed", "{} 个文档在索引后有变化"),
    "update_with": ("Bring it up to date with:", "用以下命令更新："),
    "passages": ("Passages", "段落"),
    "by_words": ("Searchable by words", "可按词检索"),
    "by_meaning": ("Searchable by meaning", "可按语义检索"),
    "refused": ("Refused", "被拒绝的文件"),
    "reason": ("Reason", "原因"),
    "admins_alone": (
        "Health and refused files are shown to holders of an admin key.",
        "索引状态与被拒绝的文件仅对管理员密钥显示。",
    ),
    "search": ("Search", "搜索"),
    "search_for": ("Search for", "搜索内容"),
    "results": ("{} passages", "{} 个段落"),
    "no_results": ("Nothing was found.", "没有找到。"),
    "bm25": ("words (BM25)", "词（BM25）"),
    "cosine": ("meaning (cosine)", "语义（余弦）"),
    "not_found_by": ("not among its first 100", "不在前 100 名"),
    "passage_gone": (
        "The passage is no longer in the index; the document may have changed.",
        "该段落已不在索引中，文档可能已更改。",
    ),
    "to_passage": ("To the passage", "跳到段落"),
}
"""Each text in English and Chinese; {} is filled in."""


def text(language: Language, key: str, *values: object) -> str:
    """A text in a language, with its places filled."""
    return WORDS[key][language == "zh"].format(*values)


def preferred(accepted: str) -> Language:
    """The language that an Accept-Language header prefers of ours; English where it names neither.

    https://www.rfc-editor.org/rfc/rfc9110#name-accept-language
    """
    best: tuple[float, Language] = (0.0, "en")
    for part in accepted.split(","):
        name, _, rest = part.strip().partition(";")
        found: Language | None = next((one for one in LANGUAGES if name.lower().split("-")[0] == one), None)
        try:
            weight = float(rest.strip().removeprefix("q=") or 1)
        except ValueError:
            weight = 0.0
        if found and weight > best[0]:
            best = (weight, found)
    return best[1]
