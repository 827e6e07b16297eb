"""The models as tools of an MCP server. https://modelcontextprotocol.io"""
