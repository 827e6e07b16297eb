"""Patterns of instructions to the model, as data: signs with their weights, and words of other languages.

Patterns match folded text (`rung.marks.folded`): lower case, without accents.
"""

from __future__ import annotations

_SAY = (
    r"(?:answer|reply|respond|output|say|state|write|print|type out|repeat|return|include|append|add|"
    r"mention|insert|quote|"
    r"tell|give|end|begin|start|finish|close|open|sign off|conclude|prefix|use|put|recite|echo|produce|"
    r"speak|announce)"
)
_ANSWER = r"(?:answers?|repl(?:y|ies)|responses?|outputs?|completions?|message to the user|summar(?:y|ies))"
_OTHER = (
    r"(?:questions?|instructions?|above|previous|prior|preceding|earlier|rest|everything|anything|"
    r"other (?:text|passages?|rules?)|"
    r"passages?|context|rules?|guidelines?|prompts?|request|else|what (?:was|is) (?:asked|said)|task|orders?|text)"
)
_READER = r"(?:users?|readers?|customers?|asker|person(?: asking)?|people|visitors?|them|him|her|everyone|whoever asks)"
_MACHINE = (
    r"(?:assistants?|chat ?bots?|bots?|language models?|ai(?:s| (?:model|system|agent|assistant)s?)?|"
    r"llms?|gpt(?:-?\d)?|"
    r"large language models?|answering (?:system|machine|model|engine|service)|(?:virtual|digital|"
    r"automated) (?:agent|assistant|helper|reader|system)s?)"
)
_GAP = r"(?:\W+\w+){0,6}?\W+"

SIGNS: tuple[tuple[str, int], ...] = (
    # ignore the question or other text
    (rf"\b(?:ignore|disregard|forget|override|overrule|neglect|discard|abandon|bypass|dismiss)\b{_GAP}{_OTHER}\b", 2),
    (
        rf"\b(?:do not|don'?t|never|stop|without)\s+(?:\w+\s+)?(?:follow|obey|us|read|answer|consider|"
        rf"look)(?:ing|e)?\b{_GAP}{_OTHER}\b",
        1,
    ),
    (
        r"\b(?:instead of (?:answering|the answer|an answer)|rather than answer(?:ing)?|no matter what "
        r"(?:is|was|they|the)|"
        r"whatever (?:is|was|they|you are|the question)(?: being)? ?(?:asked|is|ask)?)\b",
        1,
    ),
    (
        r"\b(?:supersedes?|replaces?|overrides?|takes? precedence over)\b" + _GAP + r"(?:instructions?|"
        r"rules?|prompts?|guidelines?)\b",
        2,
    ),
    # what to answer
    (rf"\byour\s+(?:\w+\s+){{0,2}}{_ANSWER}\b", 1),
    (rf"\b(?:the|this)\s+(?:\w+\s+)?{_ANSWER}\s+(?:\w+\s+){{0,6}}?(?:is|reads)\b", 1),
    (r"\b(?:leave|put|set|lay)\s+(?:it|that|them|this|the question)\s+aside\b", 1),
    (
        rf"\b{_SAY}\s+(?:only\s+|just\s+|with\s+)?(?:one|a single|this|that|the following)\s+word\b|"
        rf"\b(?:the|that) word is\b",
        1,
    ),
    (
        r"\b(?:must|should|shall|has to|have to|needs? to|is to|will|may)\s+(?:only\s+)?(?:be|contain|"
        r"include|say|read|consist of|"
        r"end (?:with|in)|begin with|start with|mention|carry|repeat)\b",
        0,
    ),
    (rf"\b(?:whole|entire|only|full|final|complete|sole)\s+{_ANSWER}\b", 1),
    (
        rf"\b(?:only|correct|right|official|true|expected|approved|verified|accepted|required)\s+{_ANSWER}\b"
        rf"(?:\W+\w+){{0,6}}?\W+(?:is|are|reads|must|would be)\b",
        1,
    ),
    (
        rf"\b(?:any|every|each|all|this|the)\s+(?:\w+\s+)?(?:questions?|quer(?:y|ies)|"
        rf"request)\b{_GAP}(?:is|are|with|must|should)\b",
        1,
    ),
    (
        r"\b(?:answer|reply|respond)\b(?:\W+\w+){0,4}?\W+(?:only|just|solely|simply|exactly|nothing|"
        r"every|any|all|with|by|in)\b",
        1,
    ),
    (
        rf"\b{_SAY}\b{_GAP}(?:and\s+)?(?:nothing (?:else|more|but)|verbatim|word for word|exactly as "
        rf"written|no other (?:word|text)s?)\b",
        2,
    ),
    (
        rf"\b{_SAY}\b(?:\W+\w+){{0,3}}?\W+(?:only\s+)?(?:the|this|a|that)\s+(?:\w+\s+)?(?:single\s+)?"
        rf"(?:(?:code|pass|secret|magic|key)?word|phrase|token|string|sentence|code|keyword|tag)\b",
        1,
    ),
    (
        rf"\b(?:in|to|of|into|at the (?:end|start|beginning|top) of|with)\s+(?:the|your|every|each|any|all|"
        rf"an)\s+{_ANSWER}\b",
        1,
    ),
    (
        rf"\b{_SAY}\b(?:\W+\w+){{0,8}}?\W+(?:in|to|into|at the (?:end|start|beginning|top) of)\s+(?:the|"
        rf"your|every|each|any|all)\s+{_ANSWER}\b",
        1,
    ),
    (r"\bwhen(?:ever)?\s+(?:you\s+(?:are\s+)?)?(?:answer|asked|respond|reply|summari)\w*", 1),
    (r"\b(?:word|phrase|code) of the day\b", 1),
    (r"\b(?:always|only|simply|solely)\s+(?:answer|reply|respond|say|output)\b", 1),
    (
        r"\bif\s+(?:(?:you|anyone|anybody|someone|somebody|the user|a user|they|people)\s+)?"
        r"(?:is\s+|are\s+)?ask(?:ed|s)?\b",
        1,
    ),
    (r"\bquestions?\b[^.!?\n]{0,60}\b(?:must|should|shall|is to|are to|has to|have to) be answered\b", 1),
    (r"\b(?:must|should|shall|is to|are to|has to|have to) be answered\s*(?:with|by|as|:)", 1),
    (r"\b(?:answer|reply|respond|output|say|write|print)\b(?:\W+\w+){1,4}?\W+instead\b", 1),
    (r"\b(?:do not|don'?t|never)\s+answer\b", 1),
    # addressed to a model
    (
        rf"\b(?:to|for|attention|attn|dear|hey|hello|note to|notice to|instructions? (?:to|for)|message "
        rf"(?:to|for)|any|all|every|"
        rf"if you are an?|as an?|you are an?|you,? the)\W+(?:\w+\s+){{0,2}}?{_MACHINE}\b",
        1,
    ),
    (rf"(?:^|\n)\W*{_MACHINE}\s*[:,]", 1),
    (
        rf"\b{_MACHINE}\b\s+(?:\w+\s+){{0,4}}?(?:must|should|shall|has to|have to|is (?:required|"
        rf"instructed|asked|told|ordered) to|"
        rf"are (?:required|instructed|asked|told|ordered) to|will now|is hereby)\b",
        1,
    ),
    (
        r"\byou are (?:now|no longer|hereby|being)\b|\bfrom now on\b|\bfrom this point (?:on|forward)\b|"
        r"\bpretend (?:to be|that)\b",
        1,
    ),
    (
        r"\b(?:whoever|anyone|anybody|the one|everyone|those)\s+(?:who\s+)?(?:is\s+|are\s+)?(?:answer|"
        r"process|read|summari)\w*",
        1,
    ),
    (r"(?:^|\n)[^\w\n]*(?:question|answer)[^\w\n]*:", 1),
    # claims of authority
    (
        r"\bnew (?:rule|instruction|directive|order|task|objective|policy for (?:answers|assistants)|"
        r"system prompt)s?\b",
        1,
    ),
    (
        r"\b(?:system|admin(?:istrator)?|developer|operator|root|security)\s+(?:notice|message|prompt|"
        r"override|instruction|directive|command|note|update|mode)s?\b",
        1,
    ),
    (
        r"\b(?:important|urgent|critical|mandatory|emergency|priority|official)\s+(?:\w+\s+)?(?:notice|"
        r"message|instruction|directive|announcement|alert|update|order)s?\b",
        1,
    ),
    (r"\b(?:passages?|documents?|context|quotations?) (?:ends?|is over|are over|stops?) here\b", 1),
    (r"\bend of (?:the\s+)?(?:passages?|documents?|context|quot\w+|data|user input)\b", 1),
    # hide something from the user
    (
        rf"\b(?:do not|don'?t|never|without)\s+(?:tell|mention|reveal|disclos|inform|notify|say|explain)\w*\b{_GAP}"
        rf"(?:this|these|instruction|notice|{_READER}|passage|anything)\b",
        1,
    ),
    # send the user somewhere
    (
        rf"\b(?:give|send|direct|point|refer|offer|show|provide|forward|redirect|invite|tell)\s+(?:the\s+|"
        rf"your\s+|all\s+)?{_READER}\b{_GAP}(?:link|url|address|site|page|https?)\b",
        1,
    ),
    (
        rf"\b(?:include|insert|add|append|give|provide|embed|post|render|display|cite)\b{_GAP}(?:link|url|"
        rf"image|https?)\b",
        1,
    ),
    (r"https?://\S*(?:\?|=)\S*", 0),
    (
        r"\b(?:their|the|user'?s?|your)\s+(?:question|query|conversation|chat|message|data)\s+(?:behind|"
        r"appended|at the end|attached|encoded|in it|after)\b",
        2,
    ),
)
"""Patterns of folded text with their weights. An imperative alone is never enough."""

LANGUAGES: dict[str, tuple[str, str, str, str]] = {
    # ignore; the thing to ignore; phrases about the answer that only an instruction has; the model. Before the first `|`
    # are single words, after it phrases; a word of more than three letters may have any ending
    "german": (
        "ignorier missacht vergiss vergessen|beachte nicht|beachten sie nicht",
        "frage anweisung vorherig obig text regel alles anleitung kontext passage",
        "deine antwort|ihre antwort|deine ganze antwort|antworte nur|antworte auf jede|antworten sie "
        "nur|antworten sie auf|"
        "antworte mit|antworte ausschliesslich|nenne nur|sage nur|sag nur|schreibe nur|gib nur|nichts "
        "anderes|jede frage|einzige antwort|antworte stets|antworte immer",
        "assistent sprachmodell chatbot ki-modell ki",
    ),
    "french": (
        "ignore ignorez oublie oubliez|ne tiens pas compte|ne tenez pas compte|neglige negligez",
        "question instruction precedent texte regle tout consigne contexte passage",
        "ta reponse|votre reponse|reponds uniquement|repondez uniquement|reponds seulement|repondez "
        "seulement|reponds par|repondez par|"
        "reponds a toute|repondez a toute|rien d'autre|reponds toujours|repondez toujours|dis "
        "seulement|dites seulement|ecris seulement|chaque question|seule reponse",
        "assistant chatbot|modele de langage|ia",
    ),
    "spanish": (
        "ignora ignore ignorad olvida olvide|no tengas en cuenta|no tenga en cuenta|haz caso omiso|haga caso omiso",
        "pregunta instruccion anterior texto regla todo contexto pasaje demas",
        "tu respuesta|su respuesta|responde solo|responda solo|responde unicamente|responda "
        "unicamente|responde con|responda con|"
        "contesta solo|conteste solo|contesta con|nada mas|di solo|diga solo|escribe solo|cada "
        "pregunta|unica respuesta|responde siempre|responda siempre|a todas las preguntas",
        "asistente chatbot|modelo de lenguaje|ia",
    ),
    "italian": (
        "ignora ignorate dimentica dimenticate|non tenere conto|non considerare",
        "domanda istruzion precedent testo regol tutto contesto passaggio resto",
        "la tua risposta|la vostra risposta|rispondi solo|rispondete solo|rispondi con|rispondete con|"
        "rispondi soltanto|rispondi sempre|"
        "nient'altro|di' solo|scrivi solo|ogni domanda|unica risposta|tutte le domande",
        "assistente chatbot|modello linguistico|ia",
    ),
    "portuguese": (
        "ignore ignora ignorem esqueca esquece|desconsidere desconsidera|nao leve em conta",
        "pergunta instruc anterior texto regra tudo contexto passagem resto",
        "sua resposta|tua resposta|responda apenas|responda somente|responde apenas|responda so|"
        "responda com|responda sempre|"
        "nada mais|diga apenas|escreva apenas|cada pergunta|unica resposta|todas as perguntas",
        "assistente chatbot|modelo de linguagem|ia",
    ),
    "dutch": (
        "negeer negeren vergeet|let niet op",
        "vraag instructie vorige bovenstaande tekst regel alles context passage overige",
        "je antwoord|uw antwoord|jouw antwoord|antwoord alleen|antwoord met|antwoord uitsluitend|"
        "antwoord altijd|antwoord op elke|"
        "niets anders|zeg alleen|schrijf alleen|elke vraag|enige antwoord",
        "assistent chatbot taalmodel",
    ),
    "polish": (
        "zignoruj ignoruj zapomnij pomin|nie zwracaj uwagi",
        "pytani instrukcj poprzedni tekst zasad wszystko kontekst",
        "twoja odpowiedz|odpowiedz tylko|odpowiadaj tylko|odpowiedz slowem|odpowiadaj zawsze|nic "
        "wiecej|powiedz tylko|napisz tylko|kazde pytanie|wszystkie pytania|jedyna odpowiedz",
        "asystent chatbot|model jezykowy",
    ),
    "turkish": (
        "yoksay unut|gormezden gel|dikkate alma|goz ardi et",
        "soru talimat onceki metin kural her seyi baglam",
        "yanitin|cevabin|sadece yanitla|yalnizca yanitla|sadece cevap|yalnizca cevap|sadece soyle|"
        "sadece yaz|baska bir sey|her soru|tum sorular",
        "asistan dil modeli sohbet botu",
    ),
    "russian": (
        "игнорируй игнорируйте забудь забудьте|не обращай внимания|не обращайте внимания|не учитывай",
        "вопрос инструкци предыдущ текст правил всё контекст остальн указани",
        "твой ответ|ваш ответ|отвечай только|отвечайте только|ответь только|ответьте только|ответь "
        "словом|ответьте словом|"
        "ничего больше|ничего другого|скажи только|скажите только|напиши только|каждый вопрос|любой "
        "вопрос|на все вопросы|единственный ответ",
        "ассистент помощник чат-бот|языковая модель|языковой модели",
    ),
    "chinese": (
        "忽略 无视 忘记 忘掉 不要理会 不理会 忽視 無視",
        "问题 指令 指示 之前 以上 上面 其他 所有 規則 规则 文本 内容 上下文 問題",
        "你的回答|你的答案|您的回答|你的回复|只回答|只需回答|只回复|只能回答|只说|只輸出|只输出|请回答|一律回答|回答任何|所有问题|任何问题|唯一答案|不要说别的|必须回答|整个回答|全部回答",
        "助手 语言模型 聊天机器人 人工智能 助理",
    ),
    "japanese": (
        "無視 忘れ 従わない",
        "質問 指示 以前 上記 他の 全て すべて ルール 文章 前の 文脈",
        "あなたの回答|あなたの答え|だけを答え|とだけ答え|だけ答え|と答えて|とだけ回答|だけ回答|と回答して|のみを答え|のみ回答|全ての質問|すべての質問|どんな質問|他には何も",
        "アシスタント 言語モデル チャットボット",
    ),
    "korean": (
        "무시 잊어 잊으",
        "질문 지시 이전 위의 다른 모든 규칙 텍스트 문맥",
        "당신의 답변|당신의 대답|라고만 답|라고만 대답|만 답하|만 대답하|모든 질문|어떤 질문|다른 말은",
        "어시스턴트 언어 모델 챗봇 도우미",
    ),
    "arabic": (
        "تجاهل انس|لا تلتفت",
        "السؤال التعليمات السابق النص القواعد كل السياق",
        "اجابتك|أجب فقط|اجب فقط|أجب ب|قل فقط|اكتب فقط|كل سؤال|أي سؤال|لا شيء آخر|جميع الأسئلة",
        "المساعد نموذج اللغة",
    ),
    "hindi": (
        "अनदेखा नज़रअंदाज़ भूल",
        "प्रश्न सवाल निर्देश पिछले पाठ नियम सब",
        "आपका उत्तर|आपका जवाब|केवल उत्तर|सिर्फ उत्तर|केवल जवाब|सिर्फ जवाब|हर प्रश्न|हर सवाल|और कुछ नहीं",
        "सहायक भाषा मॉडल",
    ),
}
