-- Run once, when the database of the stack is made: the stack's own account alone may use it.
REVOKE ALL ON DATABASE rag FROM PUBLIC;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
